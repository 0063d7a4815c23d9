# Installing: the library with its CMake package, the program, and what of their dependencies lies in
# this source tree (scripts/setup puts it into .deps), so that the tree may go afterwards.
#
# Dependencies from elsewhere stay where they are: the program's RPATH and the package name them.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(kvcache_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/kvcache")
set(kvcache_bundle_dir "${CMAKE_INSTALL_LIBDIR}/kvcache") # what is brought along
set(kvcache_bundled_libraries "") # where in it

# ONNX Runtime, laid out as a release archive is.
cmake_path(IS_PREFIX PROJECT_SOURCE_DIR "${ONNXRuntime_ROOT}" NORMALIZE kvcache_bundles_onnxruntime)
if(kvcache_bundles_onnxruntime)
  set(kvcache_onnxruntime_dir "${kvcache_bundle_dir}/onnxruntime")
  install(DIRECTORY "${ONNXRuntime_INCLUDE_DIR}/" DESTINATION "${kvcache_onnxruntime_dir}/include")
  install(DIRECTORY "${ONNXRuntime_ROOT}/lib/" DESTINATION "${kvcache_onnxruntime_dir}/lib")
  foreach(file VERSION_NUMBER LICENSE ThirdPartyNotices.txt)
    install(FILES "${ONNXRuntime_ROOT}/${file}" DESTINATION "${kvcache_onnxruntime_dir}" OPTIONAL)
  endforeach()
  list(APPEND kvcache_bundled_libraries "onnxruntime/lib")
else()
  set(kvcache_onnxruntime_dir "${ONNXRuntime_ROOT}")
endif()

# Debian's packages that scripts/setup unpacked where it could not install them.
set(kvcache_unpacked "${PROJECT_SOURCE_DIR}/.deps/debian/usr")
if(EXISTS "${kvcache_unpacked}")
  set(kvcache_packages_dir "${kvcache_bundle_dir}/debian")
  # Not those that only building kvcache needs.
  install(
    DIRECTORY "${kvcache_unpacked}/include" "${kvcache_unpacked}/lib"
    DESTINATION "${kvcache_packages_dir}"
    PATTERN "include/CLI" EXCLUDE
    PATTERN "include/gtest" EXCLUDE
    PATTERN "include/gmock" EXCLUDE
    PATTERN "include/nlohmann" EXCLUDE)
  list(APPEND kvcache_bundled_libraries "debian/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  # Who links libkvcache.so names none of them; the linker looks for what they ask for all the same.
  if(BUILD_SHARED_LIBS)
    set(dir "$<INSTALL_PREFIX>/${kvcache_packages_dir}/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
    target_link_options(kvcache INTERFACE "$<INSTALL_INTERFACE:LINKER:-rpath-link,${dir}>")
  endif()
else()
  set(kvcache_packages_dir "")
endif()

# Sets the RPATH of a target that is installed `to_libdir` away from the library.
function(kvcache_find_bundled target to_libdir)
  list(TRANSFORM kvcache_bundled_libraries PREPEND "$ORIGIN/${to_libdir}kvcache/"
       OUTPUT_VARIABLE rpath)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "${rpath}"
                                             INSTALL_RPATH_USE_LINK_PATH ON)
endfunction()

kvcache_find_bundled(kvcache "") # of no effect where it is static
install(TARGETS kvcache EXPORT kvcacheTargets)
install(DIRECTORY include/ TYPE INCLUDE)
if(KVCACHE_BUILD_CLI)
  cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY "${CMAKE_INSTALL_FULL_BINDIR}"
             OUTPUT_VARIABLE kvcache_libdir_from_bindir)
  kvcache_find_bundled(kvcache_cli "${kvcache_libdir_from_bindir}/")
  install(TARGETS kvcache_cli)
endif()

# For builds without CMake.
include(KVCachePkgConfig)

install(EXPORT kvcacheTargets NAMESPACE kvcache:: DESTINATION "${kvcache_package_dir}")
configure_package_config_file(
  cmake/kvcacheConfig.cmake.in kvcacheConfig.cmake
  INSTALL_DESTINATION "${kvcache_package_dir}"
  PATH_VARS kvcache_onnxruntime_dir kvcache_packages_dir)
write_basic_package_version_file(kvcacheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/kvcacheConfig.cmake"
        "${PROJECT_BINARY_DIR}/kvcacheConfigVersion.cmake" cmake/FindONNXRuntime.cmake
        cmake/FindPCRE2.cmake cmake/FindxxHash.cmake
  DESTINATION "${kvcache_package_dir}")
