// Changes that leave JSON what it is: libFuzzer's own, of bytes, mostly break it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace kvcache::test {

class JsonMutator {
 public:
  explicit JsonMutator(unsigned seed) : random_(seed) {}

  /// Changes the `size` bytes at `data`, which may become `most`; returns how many they are then.
  std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t most) {
    nlohmann::json json = nlohmann::json::parse(data, data + size, nullptr, false);
    if (json.is_discarded() || depth(json) > kMostDepth || below(4) == 0) {
      return LLVMFuzzerMutate(data, size, most);
    }
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
      change(json);
    }
    const std::string text = json.dump();
    if (text.size() > most) {
      return LLVMFuzzerMutate(data, size, most);
    }
    std::ranges::copy(text, data);
    return text.size();
  }

 private:
  static constexpr std::size_t kMostDepth = 100;  // writing is recursive, each change may double it

  static std::size_t depth(const nlohmann::json& value) {
    std::size_t deepest = 0;
    if (value.is_structured()) {
      for (const nlohmann::json& inner : value) {
        deepest = std::max(deepest, depth(inner) + 1);
      }
    }
    return deepest;
  }

  std::size_t below(std::size_t limit) { return random_() % limit; }

  template <typename Container>
  const auto& pick(const Container& from) {
    return from[below(from.size())];
  }

  /// `value` and all that it holds.
  static void collect(nlohmann::json& value, std::vector<nlohmann::json*>& all) {
    all.push_back(&value);
    if (value.is_structured()) {
      for (nlohmann::json& inner : value) {
        collect(inner, all);
      }
    }
  }

  /// A value that readers may not expect.
  nlohmann::json unexpected() {
    static const nlohmann::json values = nlohmann::json::parse(R"([
      null, true, 0, 1, -1, 2, 16, 17, 2.9, 1e300, 2147483647, 2147483648, 9223372036854775807,
      -9223372036854775808, 18446744073709551615, "", "int8", "float32", "../up", "a\u0000b",
      "0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789abcdef", [], {}])");
    return pick(values);
  }

  void change(nlohmann::json& json) {
    std::vector<nlohmann::json*> all;
    collect(json, all);
    nlohmann::json& value = *pick(all);
    const nlohmann::json other = *pick(all);
    switch (below(6)) {
      case 0:
        value = other;
        break;
      case 1:
        erase_from(value);
        break;
      case 2:
        add_to(value, other);
        break;
      case 3:
        if (value.is_number_integer()) {
          value = value.get<std::int64_t>() ^ (INT64_C(1) << below(64));
          break;
        }
        [[fallthrough]];
      default:
        value = unexpected();
    }
  }

  void erase_from(nlohmann::json& value) {
    if (value.is_structured() && !value.empty()) {
      value.erase(std::next(value.begin(), static_cast<std::ptrdiff_t>(below(value.size()))));
    }
  }

  static void add_to(nlohmann::json& value, const nlohmann::json& other) {
    if (value.is_array()) {
      value.push_back(other);
    } else if (value.is_object()) {
      value[other.is_string() ? other.get<std::string>() : "more"] = other;
    }
  }

  std::minstd_rand random_;
};

}  // namespace kvcache::test
