# Installs into an empty folder, and builds and runs a program there that knows nothing of the source tree. Run by
# ctest: cmake -DBUILD=<build tree> -DSCRATCH=<folder> -DVERSION=<ours> -P install_test.cmake
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${status}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${SCRATCH})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${SCRATCH}/prefix)
# A copy, so that no header is found beside it in the source tree.
file(COPY ${CMAKE_CURRENT_LIST_DIR}/consumer DESTINATION ${SCRATCH})
run(${CMAKE_COMMAND} -S ${SCRATCH}/consumer -B ${SCRATCH}/build -G Ninja -DCMAKE_PREFIX_PATH=${SCRATCH}/prefix
    -DCMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${SCRATCH}/build)
# The program outside and the installed junto generate the same text.
set(model ${CMAKE_CURRENT_LIST_DIR}/../testdata/oracles/checkpoints/olmoe)
run(${SCRATCH}/build/consumer ${model} "Ask whoever knows best.")
set(consumed "${output}")
execute_process(COMMAND ${SCRATCH}/prefix/bin/junto run ${model} --raw -p "Ask whoever knows best." -n 8 --temp 0
                        --policy top_k=2
                OUTPUT_VARIABLE output ERROR_VARIABLE cost RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR NOT output STREQUAL consumed OR output STREQUAL "\n" OR NOT cost MATCHES " 2\\.0 of 16 experts")
  message(FATAL_ERROR "the consumer printed '${consumed}', junto run '${output}' and '${cost}'")
endif()
run(${SCRATCH}/prefix/bin/junto --version)
if(NOT output MATCHES "^junto ${VERSION}\n.*\\(in use\\)")
  message(FATAL_ERROR "the installed junto --version printed '${output}', expected ${VERSION} and an instruction set")
endif()
# The model that comes with Junto runs out of the box, in a folder that has nothing.
execute_process(COMMAND ${SCRATCH}/prefix/bin/junto run mini --raw -p "It was" -n 4 --temp 0
                WORKING_DIRECTORY ${SCRATCH} OUTPUT_VARIABLE output ERROR_VARIABLE cost RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR NOT cost MATCHES "experts")
  message(FATAL_ERROR "junto run mini ended with ${status}: '${output}' and '${cost}'")
endif()
