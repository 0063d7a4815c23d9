#include "report/html/bench_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/measured_where.hpp"
#include "report/html/page.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {
namespace {

struct TopicHeading {
  Topic topic;
  const char* id;
  const char* title;
};

constexpr std::array kTopics{
    TopicHeading{Topic::latency, "latency", "Latency by token and depth"},
    TopicHeading{Topic::speedup, "speedup", "Speedup by length"},
    TopicHeading{Topic::start, "start", "From the start to the first tokens"},
    TopicHeading{Topic::memory, "memory", "Memory"},
    TopicHeading{Topic::sequences, "sequences", "Sequences"},
    TopicHeading{Topic::trees, "trees", "Trees"},
    TopicHeading{Topic::roofline, "roofline", "Fraction of the roofline"},
    TopicHeading{Topic::baselines, "baselines", "Baselines"}};

bool holds(const JsonValue& bench) {
  return bench.field("agreement").field("holds").flag() && bench.field("broken").elements().empty();
}

std::string mode_of(const JsonValue& bench) { return bench.field("mode").text(); }

Section agreement_section(const std::vector<JsonValue>& benches) {
  FigureTable table("Against forwards that know no cache",
                    {"Mode", "Tokens equal", "Ties by rounding", "Different",
                     "Largest logit difference", "Limit"});
  Markup verdicts;
  for (const JsonValue& bench : benches) {
    const JsonValue agreement = bench.field("agreement");
    const std::string mode = mode_of(bench);
    const JsonValue difference = agreement.field("largest_logit_difference");
    const auto scientific = [&](const char* field) {
      const double value = figure(agreement, field, Unit::number).value;
      return element("data",
                     {{"value", exact(value)}, {"data-json", agreement.field(field).place()}},
                     text(fmt::format("{:.1e}", value)));
    };
    table.add_row(
        {text(mode),
         show(figure(agreement, "equal", Unit::count)) + text(" of ") +
             show(figure(agreement, "tokens_compared", Unit::count)),
         show(figure(agreement, "ties", Unit::count)),
         show(figure(agreement, "different", Unit::count)),
         difference.is_null() ? text("not a number") : scientific("largest_logit_difference"),
         scientific("tolerance")});
    if (!holds(bench)) {
      Markup reasons =
          text(fmt::format("Mode {}: something does not hold, so its speeds are left "
                           "out.",
                           mode));
      for (const JsonValue& broken : bench.field("broken").elements()) {
        reasons += text(fmt::format(" {}.", broken.text()));
      }
      verdicts += element("p", {{"class", "verdict bad"}}, reasons);
    }
  }
  if (verdicts.empty()) {
    verdicts = element("p", {{"class", "verdict"}},
                       text("With the cache the model chooses the same tokens as without; "
                            "differences of logits are within the limit, as shares of the largest "
                            "logit."));
  }
  return {"agreement", "Does it agree?", verdicts + table.to_markup()};
}

/// The parts of all measurements under the headings of their topics.
std::vector<Section> topic_sections(const std::vector<Part>& parts) {
  std::vector<Section> sections;
  for (const TopicHeading& heading : kTopics) {
    Markup content;
    const auto count = std::ranges::count(parts, heading.topic, &Part::topic);
    for (const Part& part : parts) {
      if (part.topic == heading.topic) {
        content += (count > 1 ? element("h3", part.title) : Markup()) + part.content;
      }
    }
    if (!content.empty()) {
      sections.push_back({heading.id, heading.title, content});
    }
  }
  return sections;
}

/// The figures that most readers come for, of what was measured.
Markup cards_of(const std::vector<JsonValue>& benches) {
  Markup cards;
  const auto add = [&](const Figure& figure, const std::string& what) {
    cards += element("li", show(figure) + element("span", what));
  };
  for (const JsonValue& bench : benches) {
    if (!holds(bench)) {
      continue;
    }
    if (mode_of(bench) == "sequence") {
      const std::vector<JsonValue> decode = bench.field("decode").elements();
      if (!decode.empty()) {
        const JsonValue& deepest = decode.back();
        const auto depth = deepest.field("depth").size(0, 1U << 31U);
        add(figure(deepest, "median_ms", Unit::milliseconds),
            fmt::format("a token at depth {}", depth));
        if (deepest.has("bandwidth_share")) {
          add(figure(deepest.field("bandwidth_share"), "median", Unit::share),
              fmt::format("of the read bandwidth at depth {}", depth));
        }
      }
      if (bench.has("peak_resident_bytes")) {
        add(figure(bench, "peak_resident_bytes", Unit::bytes), "of memory at the peak");
      }
    }
    if (mode_of(bench) == "recompute" && !bench.field("curve").elements().empty()) {
      const JsonValue longest = bench.field("curve").elements().back();
      add(figure(longest.field("speedup"), "median", Unit::ratio),
          fmt::format("faster than no cache over {} tokens",
                      longest.field("tokens").size(1, 1U << 31U)));
    }
    if (mode_of(bench) == "tree" && bench.has("over_fresh")) {
      add(figure(bench.field("over_fresh"), "median", Unit::ratio),
          fmt::format("faster as a tree of {} than from nothing",
                      bench.field("siblings").size(1, 1U << 31U)));
    }
  }
  return cards.empty() ? Markup() : element("ul", {{"class", "cards"}}, cards);
}

}  // namespace

std::string bench_page(const std::vector<JsonValue>& benches, const std::vector<JsonValue>& peers) {
  Page page;
  std::vector<Part> parts;
  if (!benches.empty()) {
    page.title = model_name(benches.front());
    page.subtitle = fmt::format("Measured by kvcache bench, {}", date_of(benches.front()));
    page.lead = cards_of(benches);
    page.sections.push_back({"measured", "What was measured, and where", measured_where(benches)});
    page.sections.push_back(agreement_section(benches));
  } else {
    page.title = "kvcache beside other runtimes";
    page.subtitle = "Measured by bench/peers";
  }
  for (const JsonValue& bench : benches) {
    if (holds(bench)) {
      for (Part& part : parts_of(bench)) {
        parts.push_back(std::move(part));
      }
    }
  }
  for (const JsonValue& file : peers) {
    for (Part& part : baseline_parts(file)) {
      parts.push_back(std::move(part));
    }
  }
  for (Section& section : topic_sections(parts)) {
    page.sections.push_back(std::move(section));
  }
  return to_document(page);
}

}  // namespace kvcache::report::html
