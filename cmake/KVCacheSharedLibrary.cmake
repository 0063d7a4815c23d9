# What makes a shared library of kvcache: a version, and no symbols but those of include/.

# Hidden visibility leaves what KVCACHE_EXPORT marks. The linker's version script hides what
# compilers show nevertheless, instances of the standard library's templates.
function(kvcache_shared_library target)
  set_target_properties(
    ${target}
    PROPERTIES CXX_VISIBILITY_PRESET hidden
               CUDA_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               VERSION "${PROJECT_VERSION}"
               SOVERSION "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
  if(UNIX AND NOT APPLE)
    # Symbols have the version of the SOVERSION: of two libraries in one process each finds its own.
    set(script "${PROJECT_BINARY_DIR}/kvcache.map")
    configure_file("${PROJECT_SOURCE_DIR}/cmake/kvcache.map.in" "${script}" @ONLY)
    target_link_options(${target} PRIVATE "LINKER:--version-script=${script}")
    set_target_properties(${target} PROPERTIES LINK_DEPENDS "${script}")
  endif()
endfunction()
