# cmake --install: the program, the library, its headers by room, and what find_package(junto) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS junto engine EXPORT junto-targets
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(room IN LISTS JUNTO_ROOMS)
  install(DIRECTORY ${junto_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/junto
          FILES_MATCHING PATTERN "*.h" REGEX "/test_[^/]*\\.h$" EXCLUDE)
endforeach()

# The model that comes with Junto: `junto run mini` finds it here, and beside the program in the build tree.
install(FILES ${junto_SOURCE_DIR}/models/junto-mini.gguf ${junto_SOURCE_DIR}/models/junto-mini-paths.gguf DESTINATION ${CMAKE_INSTALL_DATADIR}/junto/models)
file(CREATE_LINK ${junto_SOURCE_DIR}/models ${junto_BINARY_DIR}/models SYMBOLIC)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/junto)
install(EXPORT junto-targets NAMESPACE junto:: DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/junto-config.cmake.in ${CMAKE_BINARY_DIR}/junto-config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/junto-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/junto-config.cmake ${CMAKE_BINARY_DIR}/junto-config-version.cmake
        DESTINATION ${package_folder})
