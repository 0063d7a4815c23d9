# Finds ONNX Runtime, whichever way it came onto the machine.
#
#   find_package(ONNXRuntime 1.21 REQUIRED)
#
# Looks for a directory that holds both headers and library, in this order:
#   1. the option or environment variable ONNXRUNTIME_ROOT_DIR, and then nowhere else;
#   2. CMAKE_PREFIX_PATH (option or environment variable) and the system's directories (a
#      distribution's package);
#   3. .deps/onnxruntime beside this directory (made by scripts/setup).
# A root may be a release archive, an install tree (lib or lib64), or a distribution's prefix. One
# whose version is too old is passed over like one that is empty.
#
# Sets ONNXRuntime_FOUND, ONNXRuntime_VERSION (the library's), ONNXRuntime_API_VERSION (the
# headers'), ONNXRuntime_ROOT, and defines the target ONNXRuntime::ONNXRuntime.

include(FindPackageHandleStandardArgs)

set(_ort_header_dirs
    include # release archive since 1.17, scripts/setup
    include/onnxruntime # distribution's package, cmake --install
    include/onnxruntime/core/session # release archives before 1.17, a source tree
    include/core/session)
set(_ort_library_dirs lib lib64)
if(CMAKE_LIBRARY_ARCHITECTURE)
  list(PREPEND _ort_library_dirs lib/${CMAKE_LIBRARY_ARCHITECTURE})
endif()

# The version of the library: from its file name (libonnxruntime.so.1.31.1), else from the file
# VERSION_NUMBER of a release archive. Empty when neither says.
function(_ort_library_version library root result)
  file(REAL_PATH "${library}" real_path)
  if(real_path MATCHES "libonnxruntime(\\.so)?\\.([0-9]+\\.[0-9.]*[0-9])(\\.dylib)?$")
    set(${result} "${CMAKE_MATCH_2}" PARENT_SCOPE)
  elseif(EXISTS "${root}/VERSION_NUMBER")
    file(STRINGS "${root}/VERSION_NUMBER" version LIMIT_COUNT 1)
    set(${result} "${version}" PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

# Looks into one root. Sets in the caller: _ort_problem (empty when the root is good),
# ONNXRuntime_ROOT, ONNXRuntime_INCLUDE_DIR, ONNXRuntime_LIBRARY, ONNXRuntime_VERSION, ONNXRuntime_API_VERSION.
function(_ort_look_into root)
  find_path(include_dir onnxruntime_cxx_api.h
            PATHS "${root}" PATH_SUFFIXES ${_ort_header_dirs} NO_DEFAULT_PATH NO_CACHE)
  find_library(library onnxruntime
               PATHS "${root}" PATH_SUFFIXES ${_ort_library_dirs} NO_DEFAULT_PATH NO_CACHE)

  set(problem "")
  set(api_version "")
  set(version "")
  if(NOT IS_DIRECTORY "${root}")
    set(problem "no such directory")
  elseif(NOT include_dir AND NOT library)
    set(problem "neither headers nor library")
  elseif(NOT include_dir)
    set(problem "library but no onnxruntime_cxx_api.h")
  elseif(NOT library)
    set(problem "headers but no library onnxruntime")
  else()
    file(STRINGS "${include_dir}/onnxruntime_c_api.h" api_line
         REGEX "^#define ORT_API_VERSION [0-9]+" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+" api_version "${api_line}")
    _ort_library_version("${library}" "${root}" version)
    if(NOT version)
      set(version "1.${api_version}") # the headers' is all there is to go by
    endif()
    if(version VERSION_LESS "1.${api_version}")
      set(problem "headers of 1.${api_version} but a library of ${version}")
    elseif(ONNXRuntime_FIND_VERSION AND version VERSION_LESS ONNXRuntime_FIND_VERSION)
      set(problem "version ${version}, ${ONNXRuntime_FIND_VERSION} or newer is needed")
    endif()
  endif()

  set(_ort_problem "${problem}" PARENT_SCOPE)
  set(ONNXRuntime_ROOT "${root}" PARENT_SCOPE)
  set(ONNXRuntime_INCLUDE_DIR "${include_dir}" PARENT_SCOPE)
  set(ONNXRuntime_LIBRARY "${library}" PARENT_SCOPE)
  set(ONNXRuntime_VERSION "${version}" PARENT_SCOPE)
  set(ONNXRuntime_API_VERSION "${api_version}" PARENT_SCOPE)
endfunction()

if(ONNXRUNTIME_ROOT_DIR)
  set(_ort_roots "${ONNXRUNTIME_ROOT_DIR}")
elseif(DEFINED ENV{ONNXRUNTIME_ROOT_DIR})
  set(_ort_roots "$ENV{ONNXRUNTIME_ROOT_DIR}")
else()
  cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH _ort_source_dir)
  cmake_path(CONVERT "$ENV{CMAKE_PREFIX_PATH}" TO_CMAKE_PATH_LIST _ort_environment_roots)
  set(_ort_roots ${CMAKE_PREFIX_PATH} ${_ort_environment_roots} ${CMAKE_SYSTEM_PREFIX_PATH}
                 "${_ort_source_dir}/.deps/onnxruntime")
  list(REMOVE_DUPLICATES _ort_roots)
endif()

set(_ort_tried "")
foreach(_ort_root IN LISTS _ort_roots)
  _ort_look_into("${_ort_root}")
  if(NOT _ort_problem)
    break()
  endif()
  string(APPEND _ort_tried "\n    ${_ort_root}: ${_ort_problem}")
  unset(ONNXRuntime_LIBRARY)
  unset(ONNXRuntime_INCLUDE_DIR)
  unset(ONNXRuntime_VERSION)
endforeach()

find_package_handle_standard_args(
  ONNXRuntime
  REQUIRED_VARS ONNXRuntime_LIBRARY ONNXRuntime_INCLUDE_DIR
  VERSION_VAR ONNXRuntime_VERSION
  REASON_FAILURE_MESSAGE
    "Tried, each with its include and lib directories:${_ort_tried}
  Run scripts/setup, which puts ONNX Runtime into .deps/onnxruntime, or say where it is with
  -DONNXRUNTIME_ROOT_DIR=DIR or the environment variable ONNXRUNTIME_ROOT_DIR.")

if(ONNXRuntime_FOUND AND NOT TARGET ONNXRuntime::ONNXRuntime)
  message(STATUS "ONNX Runtime: ${ONNXRuntime_ROOT} (library ${ONNXRuntime_VERSION}, "
                 "headers 1.${ONNXRuntime_API_VERSION})")
  add_library(ONNXRuntime::ONNXRuntime UNKNOWN IMPORTED)
  set_target_properties(
    ONNXRuntime::ONNXRuntime
    PROPERTIES IMPORTED_LOCATION "${ONNXRuntime_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES "${ONNXRuntime_INCLUDE_DIR}")
endif()
