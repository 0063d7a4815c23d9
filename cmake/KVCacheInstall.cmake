# Installing: the library with its CMake package, and the program.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(kvcache_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/kvcache")

install(TARGETS kvcache EXPORT kvcacheTargets)
install(DIRECTORY include/ TYPE INCLUDE)
if(KVCACHE_BUILD_CLI)
  install(TARGETS kvcache_cli)
endif()

install(EXPORT kvcacheTargets NAMESPACE kvcache:: DESTINATION "${kvcache_package_dir}")
configure_package_config_file(cmake/kvcacheConfig.cmake.in kvcacheConfig.cmake
                              INSTALL_DESTINATION "${kvcache_package_dir}")
write_basic_package_version_file(kvcacheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/kvcacheConfig.cmake"
        "${PROJECT_BINARY_DIR}/kvcacheConfigVersion.cmake" cmake/FindONNXRuntime.cmake
        cmake/FindxxHash.cmake
  DESTINATION "${kvcache_package_dir}")
