# The rooms include only downwards. Run by ctest: cmake -DROOT=<source tree> -DSCRATCH=<folder> -P rooms_test.cmake
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/rooms.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/check_rooms.cmake)

# First that the check sees what it is for: a small tree in which each kind of mistake stands once.
file(REMOVE_RECURSE ${SCRATCH})
file(WRITE ${SCRATCH}/base/low.h "#include <vector>\n#include \"base/low.h\"\n")
file(WRITE ${SCRATCH}/base/up.cc "#include \"base/low.h\"\n  #  include \"moe/high.h\"  // up\n")
file(WRITE ${SCRATCH}/base/deep/angle_test.cc "#include <moe/high.h>\n")
file(WRITE ${SCRATCH}/moe/high.h "#include \"base/low.h\"\n")
file(WRITE ${SCRATCH}/moe/bare.cc "#include \"high.h\"\n")
file(WRITE ${SCRATCH}/moe/gone.cc "#include \"base/gone.h\"\n")
file(WRITE ${SCRATCH}/moe/angle.cc "#include <base/low.h>\n")
check_rooms(${SCRATCH} found base moe)
set(expected
    "base/deep/angle_test.cc: includes moe/high.h, but moe stands above base"
    "base/up.cc: includes moe/high.h, but moe stands above base"
    "moe/angle.cc: includes <base/low.h>, expected \"base/low.h\""
    "moe/bare.cc: includes \"high.h\", which is no file of a room"
    "moe/gone.cc: includes \"base/gone.h\", which is no file of a room")
if(NOT "${found}" STREQUAL "${expected}")
  list(JOIN found "\n  " found)
  message(FATAL_ERROR "the check itself is wrong; on the tree of mistakes it finds\n  ${found}")
endif()

if(NOT EXISTS ${ROOT}/base/error.h)
  message(FATAL_ERROR "${ROOT} is not the source tree")
endif()
# The engine and its program know nothing of the training half, which may use both.
check_rooms(${ROOT} found ${JUNTO_ROOMS} cli train bench)
if(found)
  list(JOIN found "\n  " found)
  message(FATAL_ERROR "A room includes only rooms before it (cmake/rooms.cmake):\n  ${found}")
endif()
