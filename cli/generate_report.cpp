#include "generate_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "report/format.hpp"

namespace kvcache::cli {
namespace {

report::Json to_json(const TokenLogProbabilities& noted, TokenId token) {
  report::Json best = report::Json::array();
  for (const TokenLogProbability& other : noted.most_probable) {
    best.push_back({{"id", other.token}, {"log_probability", other.log_probability}});
  }
  return {{"id", token}, {"log_probability", noted.chosen}, {"most_probable", best}};
}

/// `constrained`: whether the text had to be something.
report::Json to_json(const Generated& generated, bool with_text, bool constrained) {
  report::Json json;
  if (with_text) {
    json["text"] = generated.text;
  }
  json["ids"] = generated.tokens;
  json["finish_reason"] = finish_reason_text(generated.finish_reason);
  if (constrained) {
    json["meets_constraint"] = generated.meets_constraint;
  }
  if (!generated.log_probabilities.empty()) {
    report::Json all = report::Json::array();
    for (std::size_t i = 0; i < generated.tokens.size(); ++i) {
      all.push_back(to_json(generated.log_probabilities[i], generated.tokens[i]));
    }
    json["log_probabilities"] = all;
  }
  return json;
}

report::Json to_json(const Beam& beam, bool with_text, bool constrained) {
  report::Json json = to_json(Generated{.tokens = beam.tokens,
                                        .text = beam.text,
                                        .finish_reason = beam.finish_reason,
                                        .meets_constraint = beam.meets_constraint},
                              with_text, constrained);
  json["log_probability"] = beam.log_probability;
  json["score"] = beam.score;
  return json;
}

template <typename Text>
report::Json all_to_json(const std::vector<Text>& texts, bool with_text, bool constrained) {
  report::Json all = report::Json::array();
  for (const Text& text : texts) {
    all.push_back(to_json(text, with_text, constrained));
  }
  return all;
}

double constraint_seconds_per_token(const GenerationReport& report) {
  return *report.constraint_seconds /
         static_cast<double>(std::max<std::size_t>(1, report.time.tokens()));
}

void print_text(const GenerationReport& report, const std::string& text,
                const std::vector<TokenId>& tokens) {
  if (report.with_text) {
    fmt::print("{}\n", text);
  } else {
    fmt::print("{}\n", fmt::join(tokens, " "));
  }
}

}  // namespace

void print_texts(const GenerationReport& report) {
  for (std::size_t i = 0; i < report.texts.size(); ++i) {
    const Generated& text = report.texts[i];
    fmt::print("# {} of {} ({})\n", i + 1, report.texts.size(),
               finish_reason_text(text.finish_reason));
    print_text(report, text.text, text.tokens);
  }
  for (std::size_t i = 0; i < report.beams.size(); ++i) {
    const Beam& beam = report.beams[i];
    fmt::print("# {} of {} ({}, log-probability {:.4f})\n", i + 1, report.beams.size(),
               finish_reason_text(beam.finish_reason), beam.log_probability);
    print_text(report, beam.text, beam.tokens);
  }
}

void Stopwatch::token() noexcept {
  last_ = Clock::now();
  if (tokens_++ == 0) {
    first_ = last_;
  }
}

double Stopwatch::since_begin(Clock::time_point time) const noexcept {
  return std::chrono::duration<double>(time - begin_).count();
}

double Stopwatch::seconds_to_first() const noexcept { return since_begin(first_); }

double Stopwatch::seconds() const noexcept { return since_begin(last_); }

std::optional<double> Stopwatch::tokens_per_second(std::size_t texts) const noexcept {
  const double seconds = since_begin(last_) - since_begin(first_);
  if (tokens_ <= texts || seconds <= 0) {
    return std::nullopt;
  }
  return static_cast<double>(tokens_ - texts) / seconds;
}

std::string finish_reason_text(FinishReason reason) {
  const bool stopped = reason == FinishReason::stop_token || reason == FinishReason::stop_string ||
                       reason == FinishReason::complete;
  return stopped ? "stop" : std::string(finish_reason_name(reason));
}

report::Json to_json(const GenerationReport& report) {
  report::Json json;
  const bool constrained = report.constraint_seconds.has_value();
  if (!report.beams.empty()) {
    json["beams"] = all_to_json(report.beams, report.with_text, constrained);
  } else if (report.texts.size() == 1) {
    json = to_json(report.texts.front(), report.with_text, constrained);
  } else {
    json["samples"] = all_to_json(report.texts, report.with_text, constrained);
  }
  json["seed"] = report.seed;
  json["prompt_tokens"] = report.prompt_tokens;
  json["new_tokens"] = report.time.tokens();
  json["time_to_first_token_s"] = report.time.seconds_to_first();
  json["total_s"] = report.time.seconds();
  const auto speed = report.time.tokens_per_second(std::max<std::size_t>(1, report.texts.size()));
  json["tokens_per_second"] = speed ? report::Json(*speed) : report::Json(nullptr);
  if (report.speculation) {
    json["speculation"] = {{"runs", report.speculation->runs},
                           {"drafted", report.speculation->drafted},
                           {"accepted", report.speculation->accepted}};
  }
  if (constrained) {
    json["constraint"] = {{"s_per_token", constraint_seconds_per_token(report)}};
  }
  json["cache"] = {{"bytes_in_use", report.cache.bytes_in_use()},
                   {"bytes_peak", report.cache.bytes_peak},
                   {"bytes_copied", report.cache.bytes_copied}};
  return json;
}

std::string describe(const GenerationReport& report) {
  std::string line =
      fmt::format("{} prompt tokens, {} new; first after {:.1f} ms", report.prompt_tokens,
                  report.time.tokens(), 1e3 * report.time.seconds_to_first());
  if (const auto speed =
          report.time.tokens_per_second(std::max<std::size_t>(1, report.texts.size()))) {
    line += fmt::format(", then {:.1f} tokens/s", *speed);
  }
  if (report.speculation) {
    line += fmt::format("; {} runs, {} of {} guesses right", report.speculation->runs,
                        report.speculation->accepted, report.speculation->drafted);
  }
  if (report.constraint_seconds) {
    line +=
        fmt::format("; constraint {:.1f} us a token", 1e6 * constraint_seconds_per_token(report));
    const auto cut = [](const auto& text) { return !text.meets_constraint; };
    if (std::ranges::any_of(report.texts, cut) || std::ranges::any_of(report.beams, cut)) {
      line += ", cut off before it was met";
    }
  }
  return line + fmt::format("; keys and values {}", report::format_bytes(report.cache.bytes_peak));
}

}  // namespace kvcache::cli
