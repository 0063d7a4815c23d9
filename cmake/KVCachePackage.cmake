# Packages of what is installed: cpack -G DEB and cpack -G TGZ in the build directory.
#
# A package is for the distribution that it was made on: it depends on that one's C++ libraries, and
# brings ONNX Runtime along. For Debian configure with -DCMAKE_INSTALL_PREFIX=/usr and
# -DBUILD_SHARED_LIBS=ON.

set(KVCACHE_PACKAGE_MAINTAINER "The kvcache authors <authors@kvcache.invalid>"
    CACHE STRING "Who is named in packages: whoever makes one to give it to others")

set(CPACK_PACKAGE_NAME kvcache)
set(CPACK_PACKAGE_VENDOR "The kvcache authors")
set(CPACK_PACKAGE_CONTACT "${KVCACHE_PACKAGE_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "decoder-only transformers with a forkable key/value cache")
set(CPACK_PACKAGE_DESCRIPTION
    "Runs GPT-2, Llama, Mistral, Qwen, SmolLM, Phi-3 and Gemma on ONNX Runtime
with a key/value cache that is written in place, forked, rewound and shared.
This package has the library with its headers for C and C++, and the program
kvcache.")
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_FILE_NAME
    "kvcache-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON) # who links the library depends on this package
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
cmake_path(GET ONNXRuntime_LIBRARY PARENT_PATH onnxruntime_lib)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${onnxruntime_lib}")

# What Debian's policy asks of every package, where it looks for it.
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  string(TIMESTAMP kvcache_package_date "%a, %d %b %Y %H:%M:%S +0000" UTC) # or of SOURCE_DATE_EPOCH
  file(READ LICENSE kvcache_license)
  foreach(file changelog copyright lintian-overrides triggers)
    configure_file("cmake/debian/${file}.in" "debian/${file}" @ONLY)
  endforeach()
  set(debian "${PROJECT_BINARY_DIR}/debian")
  file(ARCHIVE_CREATE OUTPUT "${debian}/changelog.Debian.gz" FORMAT raw COMPRESSION GZip
       COMPRESSION_LEVEL 9 PATHS "${debian}/changelog")
  install(FILES "${debian}/changelog.Debian.gz" "${debian}/copyright" TYPE DOC)
  if(kvcache_bundles_onnxruntime)
    install(FILES "${debian}/lintian-overrides" DESTINATION share/lintian/overrides RENAME kvcache)
  endif()
  set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA "${debian}/triggers")
else()
  install(FILES LICENSE TYPE DOC)
endif()

include(CPack)
