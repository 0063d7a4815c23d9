// Weights from memory instead of the files that a graph names.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <string>
#include <vector>

namespace kvcache::ort {

/// What a graph says lies in file names[i] is read from the sizes[i] bytes at bytes[i] when a
/// session is made; they may go afterwards.
/// @throws Ort::Exception
void add_external_initializers(Ort::SessionOptions& options, const std::vector<std::string>& names,
                               const std::vector<const std::byte*>& bytes,
                               const std::vector<std::size_t>& sizes);

}  // namespace kvcache::ort
