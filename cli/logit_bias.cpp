#include "logit_bias.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstddef>

#include "base/checked_json.hpp"
#include "program/exit_status.hpp"

namespace kvcache::cli {
namespace {

TokenBias parse_bias(std::string_view word) {
  TokenBias bias{};
  const std::size_t colon = word.find(':');
  const char* const end = word.data() + word.size();
  if (colon != std::string_view::npos) {
    const auto id = std::from_chars(word.data(), word.data() + colon, bias.token);
    const auto number = std::from_chars(word.data() + colon + 1, end, bias.bias);
    if (id.ec == std::errc() && id.ptr == word.data() + colon && number.ec == std::errc() &&
        number.ptr == end) {
      return bias;
    }
  }
  throw UsageError(
      fmt::format("--logit-bias: {} is no ID:BIAS; give a token's id and what is added to its "
                  "logit, such as 50256:-inf,198:-2.5",
                  in_quotes(word)));
}

}  // namespace

std::vector<TokenBias> parse_biases(std::string_view text) {
  std::vector<TokenBias> biases;
  while (true) {
    const std::size_t comma = text.find(',');
    biases.push_back(parse_bias(text.substr(0, comma)));
    if (comma == std::string_view::npos) {
      return biases;
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace kvcache::cli
