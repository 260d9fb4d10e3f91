# The training half: LibTorch, and the BLAS that it multiplies with. Debian's Torch and PyTorch's own builds work.
#
# JUNTO_TRAIN: ON, OFF, or AUTO: where Torch is found. Sets it to ON or OFF.
if(JUNTO_TRAIN STREQUAL "AUTO")
  find_package(Torch QUIET)
  if(Torch_FOUND)
    set(JUNTO_TRAIN ON)
  else()
    message(STATUS "Torch was not found: the training half is left out (scripts/setup train)")
    set(JUNTO_TRAIN OFF)
  endif()
endif()
if(NOT JUNTO_TRAIN)
  return()
endif()
find_package(Torch REQUIRED)
find_package(OpenMP REQUIRED)

# The OpenMP flavour of OpenBLAS by its own path, which the programs remember: they get it whatever the system's
# alternatives say, and LibTorch gets the copy that is loaded. Elsewhere LibTorch itself holds a BLAS.
set(JUNTO_BLAS "")
foreach(name openblas blas lapack)
  find_library(JUNTO_LIB_${name} ${name} PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH)
  mark_as_advanced(JUNTO_LIB_${name})
  if(JUNTO_LIB_${name})
    list(APPEND JUNTO_BLAS ${JUNTO_LIB_${name}})
  endif()
endforeach()

# Several processes train together over MPI. Only the trainer links it; without, it is one process.
find_package(MPI QUIET COMPONENTS CXX)
if(NOT MPI_CXX_FOUND)
  message(STATUS "MPI was not found: training is one process (scripts/setup train)")
endif()

# junto_torch(TARGET): headers, libraries and flags.
function(junto_torch target)
  target_include_directories(${target} SYSTEM PUBLIC ${TORCH_INCLUDE_DIRS})
  separate_arguments(flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
  target_compile_options(${target} PUBLIC ${flags})
  if(JUNTO_BLAS)
    target_link_libraries(${target} PUBLIC -Wl,--push-state,--no-as-needed ${JUNTO_BLAS} -Wl,--pop-state)
  endif()
  target_link_libraries(${target} PUBLIC torch_cpu_library c10 OpenMP::OpenMP_CXX)
endfunction()

# The room, its program junto-train beside junto, and its tests. Sources need no build edit.
function(junto_train)
  junto_sources(train sources)
  list(REMOVE_ITEM sources ${junto_SOURCE_DIR}/train/main.cc)
  file(GLOB_RECURSE hashed CONFIGURE_DEPENDS ${junto_SOURCE_DIR}/train/*.h ${junto_SOURCE_DIR}/moe/*.h
       ${junto_SOURCE_DIR}/moe/*.cc)
  set(hash ${CMAKE_BINARY_DIR}/training_sources.cc)
  add_custom_command(OUTPUT ${hash} COMMAND ${CMAKE_COMMAND} -DROOT=${junto_SOURCE_DIR} -DOUT=${hash}
                     -P ${junto_SOURCE_DIR}/cmake/training_sources.cmake
                     DEPENDS ${sources} ${hashed} ${junto_SOURCE_DIR}/cmake/training_sources.cmake VERBATIM)
  add_library(junto_train STATIC ${sources} ${hash})
  junto_isa_flags(${sources})
  add_library(junto::train ALIAS junto_train)
  target_link_libraries(junto_train PUBLIC junto_cli)
  junto_torch(junto_train)
  if(MPI_CXX_FOUND)
    target_link_libraries(junto_train PRIVATE MPI::MPI_CXX)
    target_compile_definitions(junto_train PRIVATE JUNTO_MPI)
  endif()
  junto_options(junto_train)
  junto_compile_together(junto_train)
  junto_precompile(junto_train <ATen/ATen.h>)
  add_executable(junto-train ${junto_SOURCE_DIR}/train/main.cc)
  target_link_libraries(junto-train PRIVATE junto_train)
  junto_options(junto-train)
  set_target_properties(junto-train PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)  # the BLAS above, installed too
  install(TARGETS junto-train RUNTIME DESTINATION bin)
  if(JUNTO_TESTS)
    junto_tests(train <ATen/ATen.h>)
    target_link_libraries(train_test PRIVATE junto_train)
    target_compile_definitions(train_test PRIVATE JUNTO_TRAIN_BINARY="$<TARGET_FILE:junto-train>"
                               JUNTO_MPIEXEC="${MPIEXEC_EXECUTABLE}")
    add_dependencies(train_test junto junto-train)
    # Threads that wait for work spin otherwise, beside other tests.
    set_tests_properties(train PROPERTIES ENVIRONMENT OMP_WAIT_POLICY=passive)
    # Tasks that are no language models, as a project of one's own would have them; scripts/fetch-data brings what they learn.
    foreach(task image_experts multi_gate)
      add_executable(example_${task} ${junto_SOURCE_DIR}/examples/tasks/${task}.cc)
      target_link_libraries(example_${task} PRIVATE junto_train)
      junto_options(example_${task})
      add_test(NAME example_${task} COMMAND example_${task})
      set_tests_properties(example_${task} PROPERTIES TIMEOUT 300 ENVIRONMENT OMP_WAIT_POLICY=passive)
    endforeach()
  endif()
endfunction()
