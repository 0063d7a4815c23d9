// Numbers on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <optional>
#include <string_view>

namespace kvcache::cli {

/// What may be counted: tokens, threads, rounds. The sizes of a model end there too.
constexpr std::size_t kMaxCount = 2'147'483'647;

/// Accepts whole numbers within [least, most], in decimal digits and nothing else.
CLI::Validator whole_number(std::size_t least, std::size_t most = kMaxCount);

/// Such a number, or none where `text` is not one.
std::optional<std::size_t> read_whole_number(std::string_view text, std::size_t least,
                                             std::size_t most) noexcept;

}  // namespace kvcache::cli
