# How this project's targets are compiled and linked.

# Highway's dispatch compiles the kernels for each instruction set itself: no -march here.
function(kvcache_compile_options target)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  # Clang counts changes of sign among the conversions, GCC does not.
  set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
               -Wnon-virtual-dtor -Woverloaded-virtual)
  if(KVCACHE_WARNINGS_AS_ERRORS)
    list(APPEND warnings -Werror)
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
  # The kernels keep vectors in arrays, which those of SVE and RVV, whose size is known at run time
  # only, cannot be in: such processors run NEON or no SIMD. SSSE3 without SSE4 was last sold in 2013.
  list(JOIN KVCACHE_WITHOUT_TARGETS "|" others)
  string(JOIN "|" without HWY_SVE HWY_SVE2 HWY_SVE_256 HWY_SVE2_128 HWY_RVV HWY_SSSE3 ${others})
  target_compile_definitions(
    ${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:HWY_DISABLED_TARGETS=(${without})>")
  if(KVCACHE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${KVCACHE_SANITIZE}
                                             -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${KVCACHE_SANITIZE})
    # GCC 12 ends with an internal error in this pass ("gsi_insert_seq_nodes_after") where the thread
    # sanitiser meets the attention of the target without SIMD.
    if(KVCACHE_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -fno-tree-sra)
    endif()
  endif()
endfunction()

# Compiles sources several at a time, unless CMAKE_UNITY_BUILD=OFF: most of their time goes to the
# same large headers (ONNX Runtime's, CLI11, GoogleTest, nlohmann-json) and what the compiler makes of
# their templates. GCC then takes a joined source for a header and warns of types that are the source's
# own.
function(kvcache_join_sources target)
  if(NOT DEFINED CMAKE_UNITY_BUILD)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 32)
    target_compile_options(
      ${target}
      PRIVATE "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>")
  endif()
endfunction()

# For sources whose time at run time goes to the library that they call: with all its optimisations
# the compiler takes nearly twice as long for what they make of CLI11 and nlohmann-json.
function(kvcache_optimise_less target)
  target_compile_options(${target} PRIVATE "$<$<CONFIG:Release>:-O1>")
endfunction()

# Lets what is linked with a target find what scripts/setup unpacked into .deps/debian, also what those
# libraries ask for themselves (of ICU, libicuuc asks for libicudata): the linker notes their place as
# DT_RPATH, which counts for these too; the newer DT_RUNPATH, which is its default, does not.
function(kvcache_find_unpacked target scope)
  if(EXISTS "${PROJECT_SOURCE_DIR}/.deps/debian/usr")
    target_link_options(${target} ${scope} LINKER:--disable-new-dtags)
  endif()
endfunction()

# A program of this repository: compiled like the library, may include its inner headers, and finds
# its shared libraries without LD_LIBRARY_PATH, in the build directory and once installed.
function(kvcache_program target)
  kvcache_compile_options(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src"
                                               "${PROJECT_SOURCE_DIR}/cli")
  target_link_libraries(
    ${target} PRIVATE kvcache_inner CLI11::CLI11 ONNXRuntime::ONNXRuntime fmt::fmt
                      nlohmann_json::nlohmann_json)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
endfunction()
