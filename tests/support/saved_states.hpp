// Saved states taken apart, and put together with a checksum that matches.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace kvcache::test {

inline constexpr std::size_t kBeforeHeader = 16;  // magic, version, the header's size

/// A state with a checksum that matches, whatever it holds.
inline std::string with_checksum(std::string contents) {
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(contents.data(), contents.size()));
  contents.append(reinterpret_cast<const char*>(checksum.digest), sizeof(checksum.digest));
  return contents;
}

inline std::string state_of(const std::string& header, const std::string& rest, char version = 1) {
  const auto size = static_cast<std::uint32_t>(header.size());
  std::string state("kvcache\0\1\0\0\0", 12);
  state[8] = version;
  state.append(reinterpret_cast<const char*>(&size), sizeof(size));
  return with_checksum(state + header + rest);
}

/// The header of a state, and what follows it up to the checksum.
inline std::pair<nlohmann::json, std::string> parts_of(const std::string& state) {
  std::uint32_t size = 0;
  std::memcpy(&size, state.data() + 12, sizeof(size));
  const std::size_t payload = kBeforeHeader + size;
  return {nlohmann::json::parse(state.substr(kBeforeHeader, size)),
          state.substr(payload, state.size() - payload - sizeof(XXH128_canonical_t))};
}

}  // namespace kvcache::test
