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

# Installs a target into a folder of the wheel, with Debian's packages that scripts/setup unpacked
# where it could not install them.
function(kvcache_in_wheel target folder)
  set(unpacked "${PROJECT_SOURCE_DIR}/.deps/debian/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  if(EXISTS "${unpacked}")
    file(GLOB libraries "${unpacked}/*.so.*")
    install(FILES ${libraries} DESTINATION kvcache/lib)
    cmake_path(SET lib "kvcache/lib")
    cmake_path(RELATIVE_PATH lib BASE_DIRECTORY "${folder}")
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${lib}")
  endif()
  set_target_properties(${target} PROPERTIES INSTALL_RPATH_USE_LINK_PATH OFF)
  install(TARGETS ${target} DESTINATION "${folder}")
endfunction()
