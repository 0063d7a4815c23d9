// The pieces of a small chat template, to be changed by tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvcache::test {

/// "<s>u:", a user's message without the whitespace around it, "</s>a: ", an assistant's as it is,
/// "</s>u:" and so on. An assistant's must not be blank nor hold "</think>".
inline nlohmann::json tiny_chat_template() {
  using nlohmann::json;
  const std::string blanks = " \n";
  const auto piece = [](const json& before, const json& after, const std::string& text,
                        const std::string& trim_before, const std::string& trim_after) {
    return json{{"before", before},
                {"after", after},
                {"text", json::array({text})},
                {"trim_before", trim_before},
                {"trim_after", trim_after}};
  };
  json ends = json::array({piece("user", nullptr, "</s>", blanks, ""),
                           piece("user", nullptr, "</s>a: ", blanks, ""),
                           piece("assistant", nullptr, "</s>", "", "")});
  ends[0]["generation"] = false;
  ends[1]["generation"] = true;
  ends[2]["generation"] = false;
  json between = json::array({piece(nullptr, "user", "<s>u:", "", blanks),
                              piece("user", "assistant", "</s>a: ", blanks, ""),
                              piece("assistant", "user", "</s>u:", "", blanks)});
  between.insert(between.end(), ends.begin(), ends.end());
  return {{"format", "kvcache_chat_template"},
          {"format_version", 1},
          {"expressed", true},
          {"extends", true},
          {"between", between},
          {"refused", json::array({{{"role", "assistant"},
                                    {"containing", {"</think>"}},
                                    {"empty", true},
                                    {"blank", true}}})}};
}

}  // namespace kvcache::test
