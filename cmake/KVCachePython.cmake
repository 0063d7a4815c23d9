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
