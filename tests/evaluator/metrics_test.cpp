#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "evaluator/recorder.hpp"
#include "kvcache/evaluator_metrics.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::HeldEvaluator;
using test::share_text;

TEST(EvaluatorMetrics, CountWhatHappened) {
  const Model model = Model::load(test::model_path("plain"));
  HeldEvaluator evaluator(model);
  std::vector<Request<Logits>> requests;
  for (std::size_t i = 1; i <= 3; ++i) {
    requests.push_back(evaluator->submit(
        ExtendRequest{share_text(model, {1, 2}), std::vector<TokenId>(i, TokenId{1})}));
  }
  EXPECT_EQ(evaluator->metrics().waiting, 3U);
  EXPECT_EQ(evaluator->metrics().clients, 1U);
  evaluator.release();
  for (const Request<Logits>& request : requests) {
    (void)request.get();
  }
  const EvaluatorMetrics metrics = evaluator->metrics();
  EXPECT_EQ(metrics.submitted, 3U);
  EXPECT_EQ(metrics.answered, 3U);
  EXPECT_EQ(metrics.waiting, 0U);
  EXPECT_EQ(metrics.running, 0U);
  EXPECT_EQ(metrics.runs, 1U);
  EXPECT_EQ(metrics.queue_seconds.count(), 3U);
  EXPECT_GT(metrics.queue_seconds.sum, 0);
  EXPECT_GE(metrics.queue_seconds.sum, metrics.queue_seconds.largest);
  EXPECT_EQ(metrics.run_seconds.count(), 1U);
  EXPECT_EQ(metrics.rows_per_run.sum, 3);
  EXPECT_EQ(metrics.rows_per_run.counts[2], 1U);  // in (2, 4]
  EXPECT_EQ(metrics.tokens_per_run.sum, 6);
  EXPECT_GT(metrics.evaluations_per_second, 0);
}

TEST(EvaluatorMetrics, EvaluationsPerSecondAreThoseOfTheLastTen) {
  using std::chrono::milliseconds;
  const evaluator::Clock::time_point began{};
  evaluator::Recorder recorder(began);
  const auto rate_at = [&](int at) {
    return recorder.metrics(began + milliseconds(at)).evaluations_per_second;
  };
  EXPECT_EQ(rate_at(0), 0);
  for (int at = 0; at < 30000; at += 100) {
    recorder.count_run({.rows = 7, .tokens = 9, .took = {}, .failed = false},
                       began + milliseconds(at));
    if (at >= 1000) {
      EXPECT_NEAR(rate_at(at + 100), 70, 8);
    }
  }
  EXPECT_NEAR(rate_at(35000), 35, 5);
  EXPECT_EQ(rate_at(42000), 0);
}

TEST(EvaluatorMetrics, TextIsPrometheuss) {
  EvaluatorMetrics metrics;
  metrics.submitted = 12;
  metrics.evaluations_per_second = 2.5;
  metrics.queue_seconds = {.bounds = {0.001, 0.5}, .counts = {3, 2, 1}, .sum = 4.25, .largest = 2};
  metrics.result_cache.hits = 7;
  const std::vector<std::pair<std::string, std::string>> labels{{"model", "a\"b\\c\nd"},
                                                                {"host", "x"}};
  const std::string text = prometheus_text(metrics, labels);
  const std::string own = R"(model="a\"b\\c\nd",host="x")";
  const auto has = [&](const std::string& line) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << "lacks " << line << " in\n" << text;
  };
  has("# HELP kvcache_evaluator_requests_total Requests submitted.");
  has("# TYPE kvcache_evaluator_requests_total counter");
  has("kvcache_evaluator_requests_total{" + own + "} 12");
  has("# TYPE kvcache_evaluator_evaluations_per_second gauge");
  has("kvcache_evaluator_evaluations_per_second{" + own + "} 2.5");
  has("# TYPE kvcache_evaluator_queue_seconds histogram");
  has("kvcache_evaluator_queue_seconds_bucket{" + own + ",le=\"0.001\"} 3");
  has("kvcache_evaluator_queue_seconds_bucket{" + own + ",le=\"0.5\"} 5");
  has("kvcache_evaluator_queue_seconds_bucket{" + own + ",le=\"+Inf\"} 6");
  has("kvcache_evaluator_queue_seconds_sum{" + own + "} 4.25");
  has("kvcache_evaluator_queue_seconds_count{" + own + "} 6");
  has("kvcache_evaluator_result_cache_hits_total{" + own + "} 7");
  EXPECT_NE(prometheus_text(metrics).find("\nkvcache_evaluator_requests_total 12\n"),
            std::string::npos);
}

/// Each line is a comment or a name, labels and a number, and each name is described once.
TEST(EvaluatorMetrics, EveryLineOfTheTextCanBeRead) {
  const Model model = Model::load(test::model_path("plain"));
  Evaluator evaluator(model);
  (void)evaluator.answer(ExtendRequest{share_text(model, {1}), {2}});
  std::istringstream lines(prometheus_text(evaluator.metrics()));
  std::string line;
  std::string described;
  int values = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("# HELP ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_EQ(described.find(" " + name + " "), std::string::npos) << name;
      described += " " + name + " ";
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      continue;
    }
    const std::size_t space = line.rfind(' ');
    ASSERT_NE(space, std::string::npos) << line;
    std::size_t read = 0;
    (void)std::stod(line.substr(space + 1), &read);
    EXPECT_EQ(read, line.size() - space - 1) << line;
    ++values;
  }
  EXPECT_GT(values, 60);
}

TEST(EvaluatorMetrics, LabelsThatPrometheusRefusesAreRefused) {
  for (const char* name : {"", "1a", "a-b", "le", "__x", "é"}) {
    const std::vector<std::pair<std::string, std::string>> labels{{name, "x"}};
    expect_error(ErrorCode::invalid_argument, "is no name of a Prometheus label",
                 [&] { (void)prometheus_text({}, labels); });
  }
}

}  // namespace
}  // namespace kvcache
