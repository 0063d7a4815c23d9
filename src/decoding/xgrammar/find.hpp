// Where xgrammar is, if it is anywhere.
#pragma once

#include <filesystem>
#include <string>

namespace kvcache::decoding::xgrammar {

/// What to do where it is not there, for messages.
std::string how_to_install();

/// The directory with the packages xgrammar, of the version that is known here, and tvm_ffi: the
/// one that is given, or else that of the environment, or of the build.
/// @throws Error grammar_unavailable
std::filesystem::path find_packages(const std::filesystem::path& given);

}  // namespace kvcache::decoding::xgrammar
