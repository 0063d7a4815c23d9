# The Python packages xgrammar and apache-tvm-ffi, whose libraries grammars are compiled with at run
# time (docs/CONSTRAINTS.md). Nothing of them is compiled or linked: what is found is where they are.
#
# Sets XGrammar_FOUND and XGrammar_DIRECTORY, the directory with xgrammar/ and tvm_ffi/ in it.

file(GLOB _xgrammar_places "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages")
find_path(
  XGrammar_DIRECTORY
  NAMES xgrammar/libxgrammar_bindings.so
  HINTS ENV KVCACHE_XGRAMMAR_DIR
  PATHS ${_xgrammar_places}
  NO_DEFAULT_PATH)
unset(_xgrammar_places)
mark_as_advanced(XGrammar_DIRECTORY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(XGrammar REQUIRED_VARS XGrammar_DIRECTORY)
