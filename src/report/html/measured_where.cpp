#include "report/html/measured_where.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "report/html/figure.hpp"

namespace kvcache::report::html {
namespace {

using Facts = std::vector<std::pair<std::string, Markup>>;

std::string text_or_nothing(const JsonValue& object, std::string_view field) {
  return object.has(field) && object.field(field).is_text() ? object.field(field).text() : "";
}

std::string types_of(const JsonValue& model) {
  std::string types = model.field("dtype").text();
  for (const auto& [field, name] : {std::pair{"weights", "weights"},
                                    {"activations", "activations"},
                                    {"cache_dtype", "cache"}}) {
    const std::string type = text_or_nothing(model, field);
    if (!type.empty() && type != model.field("dtype").text()) {
      types += fmt::format(", {} {}", name, type);
    }
  }
  return types;
}

Markup shape_of(const JsonValue& model) {
  Markup shape = show(figure(model, "num_layers", Unit::count)) + text(" layers, ") +
                 show(figure(model, "num_heads", Unit::count)) + text(" heads of ") +
                 show(figure(model, "head_dim", Unit::count));
  return shape + text(", vocabulary ") + show(figure(model, "vocab_size", Unit::count)) +
         text(", ") + show(figure(model, "max_seq_len", Unit::count)) + text(" positions");
}

Facts facts_of(const JsonValue& bench) {
  const JsonValue model = bench.field("model");
  const JsonValue environment = bench.field("environment");
  Facts facts{{"Model", text(fmt::format("{}, {}", model.field("model_type").text(),
                                         model.field("source").text()))},
              {"Types", text(types_of(model))},
              {"Shape", shape_of(model)},
              {"Model files", show(figure(model, "model_bytes", Unit::bytes))},
              {"Device", text(bench.field("device").text())},
              {"Threads", show(figure(bench, "threads", Unit::count))},
              {"Loaded in", show(figure(bench, "load_ms", Unit::milliseconds))},
              {"Processor", text(environment.field("processor").text())}};
  if (environment.has("memory_bytes")) {
    facts.emplace_back("Memory", show(figure(environment, "memory_bytes", Unit::bytes)));
  }
  facts.emplace_back("Versions", text(fmt::format("kvcache {}, ONNX Runtime {}, {}",
                                                  environment.field("kvcache_version").text(),
                                                  environment.field("onnxruntime_version").text(),
                                                  environment.field("compiler").text())));
  facts.emplace_back("System", text(environment.field("operating_system").text()));
  const std::string digest = text_or_nothing(model, "digest");
  if (!digest.empty()) {
    facts.emplace_back("Digest", element("code", digest));
  }
  return facts;
}

/// The facts as they are read, without where in the file they stand.
std::string key_of(const JsonValue& bench) {
  std::string key;
  bool inside_tag = false;
  for (const auto& [name, value] : facts_of(bench)) {
    for (const char letter : value.html()) {
      inside_tag = letter == '<' || (inside_tag && letter != '>');
      key += inside_tag ? ' ' : letter;
    }
  }
  key.erase(std::unique(key.begin(), key.end()), key.end());  // tags are of any length
  return key;
}

/// The modes that were measured so, and how often where that is not as of the one before.
Markup modes_of(const std::vector<JsonValue>& benches, const std::string& key) {
  Markup modes;
  std::size_t rounds = 0;
  for (const JsonValue& bench : benches) {
    if (key_of(bench) == key) {
      const std::size_t own = bench.field("rounds").size(0, std::size_t{1} << 31U);
      modes += (modes.empty() ? Markup() : text(", ")) + text(bench.field("mode").text());
      if (own != rounds) {
        modes += text(" (") + show(figure(bench, "rounds", Unit::count)) + text(" rounds)");
        rounds = own;
      }
    }
  }
  return modes;
}

Markup list_of(const JsonValue& bench, const std::vector<JsonValue>& benches) {
  Markup list = element("dt", "Modes") + element("dd", modes_of(benches, key_of(bench)));
  for (const auto& [name, value] : facts_of(bench)) {
    list += element("dt", name) + element("dd", value);
  }
  return element("dl", list);
}

}  // namespace

std::string model_name(const JsonValue& bench) {
  const JsonValue model = bench.field("model");
  return fmt::format("{}, {}, {}", model.field("model_type").text(), model.field("source").text(),
                     types_of(model));
}

std::string date_of(const JsonValue& bench) {
  return bench.field("environment").field("date").text();
}

Markup measured_where(const std::vector<JsonValue>& benches) {
  Markup all;
  std::vector<std::string> keys;
  for (const JsonValue& bench : benches) {
    const std::string key = key_of(bench);
    if (std::ranges::find(keys, key) == keys.end()) {
      keys.push_back(key);
      all += list_of(bench, benches);
    }
  }
  return all;
}

}  // namespace kvcache::report::html
