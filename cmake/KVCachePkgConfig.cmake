# kvcache.pc: compiling and linking without CMake. It names places beside its own, so what is installed
# may be moved, but for libraries that were elsewhere before.

cmake_path(SET kvcache_pc_dir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
foreach(dir INCLUDEDIR LIBDIR)
  cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_${dir} BASE_DIRECTORY "${kvcache_pc_dir}"
             OUTPUT_VARIABLE kvcache_pc_${dir})
endforeach()

set(kvcache_pc_libs "-lkvcache")
set(unpacked_lib "\${libdir}/kvcache/debian/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
if(BUILD_SHARED_LIBS AND kvcache_packages_dir) # KVCacheInstall.cmake says why
  string(APPEND kvcache_pc_libs " -Wl,-rpath-link,${unpacked_lib}")
elseif(NOT BUILD_SHARED_LIBS) # then all that it needs: a static library brings nothing
  if(kvcache_bundles_onnxruntime)
    set(onnxruntime_lib "\${libdir}/kvcache/onnxruntime/lib")
  else()
    cmake_path(GET ONNXRuntime_LIBRARY PARENT_PATH onnxruntime_lib)
  endif()
  set(dirs "${onnxruntime_lib}")
  if(kvcache_packages_dir)
    list(APPEND dirs "${unpacked_lib}")
    string(APPEND kvcache_pc_libs " -Wl,--disable-new-dtags") # kvcache_find_unpacked() says why
  endif()
  foreach(dir IN LISTS dirs)
    string(APPEND kvcache_pc_libs " -L${dir} -Wl,-rpath,${dir}")
  endforeach()
  string(APPEND kvcache_pc_libs " -lonnxruntime -lfmt -lhwy -lxxhash -lpcre2-8 -licuuc -lstdc++ -lm"
                                " -pthread -ldl")
endif()

configure_file(cmake/kvcache.pc.in kvcache.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/kvcache.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
