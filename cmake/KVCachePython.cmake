# What the parts of a Python wheel have in common.

# The target finds ONNX Runtime when it runs, in the package of Python beside it, and is not linked
# with the one that it was built with.
function(kvcache_onnxruntime_at_run_time target)
  target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/python/bindings/onnxruntime_library.cpp")
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
  target_include_directories(
    ${target} SYSTEM
    PRIVATE $<TARGET_PROPERTY:ONNXRuntime::ONNXRuntime,INTERFACE_INCLUDE_DIRECTORIES>)
  target_link_options(${target} PRIVATE LINKER:--as-needed)
endfunction()

# Installs a target into a folder of the wheel, with Debian's packages that were unpacked where they
# could not be installed. Each library is there once, under the name that others ask for: a wheel
# holds no links.
function(kvcache_in_wheel target folder)
  set(unpacked "${PROJECT_SOURCE_DIR}/.deps/debian/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  if(EXISTS "${unpacked}")
    file(GLOB libraries "${unpacked}/*.so.*")
    set(linked)
    foreach(library IN LISTS libraries)
      if(IS_SYMLINK "${library}")
        file(REAL_PATH "${library}" real)
        cmake_path(GET library FILENAME name)
        install(FILES "${real}" DESTINATION kvcache/lib RENAME "${name}")
        list(APPEND linked "${real}")
      endif()
    endforeach()
    foreach(library IN LISTS libraries)
      if(NOT IS_SYMLINK "${library}" AND NOT library IN_LIST linked)
        install(FILES "${library}" DESTINATION kvcache/lib)
      endif()
    endforeach()
    cmake_path(SET lib "kvcache/lib")
    cmake_path(RELATIVE_PATH lib BASE_DIRECTORY "${folder}")
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${lib}")
    # As DT_RPATH, which counts for what the libraries themselves ask for, too: Debian's ICU is two.
    target_link_options(${target} PRIVATE LINKER:--disable-new-dtags)
  endif()
  set_target_properties(${target} PROPERTIES INSTALL_RPATH_USE_LINK_PATH OFF)
  install(TARGETS ${target} DESTINATION "${folder}")
endfunction()
