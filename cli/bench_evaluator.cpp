// kvcache bench --mode evaluator: clients that ask one model, a thread each: requests a second, how
// long each waits, and what a request costs over a direct call.

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "bench_mode.hpp"
#include "program/exit_status.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultClients = 32;
constexpr std::size_t kDefaultRequests = 64;  // of each client in a round
constexpr std::size_t kDefaultText = 128;

/// A text that is continued greedily, one token a request.
struct Player {
  Player(const Model& model, std::size_t depth, std::size_t number)
      : sequence(model.new_sequence()),
        logits(sequence.extend(prompt_of(depth, model, static_cast<std::uint32_t>(number + 1)))) {}

  void ask_directly() {
    const TokenId next = logits.argmax();
    logits = sequence.extend({&next, 1});
  }

  void ask(Submitter& client) {
    const TokenId next = logits.argmax();
    logits = client.answer(ExtendRequest{.sequence = borrow(sequence), .tokens = {next}}).result;
  }

  Sequence sequence;
  Logits logits;
};

/// So many clients, and what was measured of them in all rounds.
struct Crowd {
  std::size_t clients;
  std::vector<double> requests_per_second = {};  // a round each
  std::vector<double> wait_ms = {};              // a request each
  double rows = 0;
  double runs = 0;
};

/// One round: every client asks `requests` times.
void play(const Model& model, Crowd& crowd, std::size_t depth, std::size_t requests,
          report::Agreement* agreement) {
  Evaluator evaluator(model, {.max_rows = std::max<std::size_t>(64, crowd.clients)});
  std::vector<Player> players;
  std::vector<EvaluatorClient> clients;
  for (std::size_t i = 0; i < crowd.clients; ++i) {
    players.emplace_back(model, depth, i);
    clients.push_back(evaluator.register_client());
  }
  std::vector<std::future<std::vector<double>>> waits;
  const double milliseconds = time_of([&] {
    for (std::size_t i = 0; i < crowd.clients; ++i) {
      waits.push_back(std::async(std::launch::async, [&player = players[i], requests,
                                                      client = std::move(clients[i])]() mutable {
        EvaluatorClient asking = std::move(client);  // nobody waits for it when it has done
        std::vector<double> own;
        own.reserve(requests);
        for (std::size_t n = 0; n < requests; ++n) {
          own.push_back(time_of([&] { player.ask(asking); }));
        }
        return own;
      }));
    }
    for (auto& of_client : waits) {
      of_client.wait();
    }
  });
  for (auto& of_client : waits) {
    const std::vector<double> own = of_client.get();
    crowd.wait_ms.insert(crowd.wait_ms.end(), own.begin(), own.end());
  }
  crowd.requests_per_second.push_back(static_cast<double>(crowd.clients * requests) * 1e3 /
                                      milliseconds);
  const EvaluatorMetrics metrics = evaluator.metrics();
  crowd.rows += metrics.rows_per_run.sum;
  crowd.runs += static_cast<double>(metrics.runs);
  if (agreement != nullptr) {
    for (const Player& player : players) {
      compare_with_uncached(model, player.sequence.tokens(), player.logits.last(), *agreement);
    }
  }
}

/// Requests of one client and direct calls by turns, so that what else the machine does changes
/// both: the time of each, in microseconds.
struct OneClient {
  std::vector<double> request_us;
  std::vector<double> call_us;

  void measure(const Model& model, std::size_t depth, std::size_t requests) {
    Evaluator evaluator(model);
    EvaluatorClient client = evaluator.register_client();
    Player asks(model, depth, 0);
    Player calls(model, depth, 0);
    for (std::size_t n = 0; n < requests; ++n) {
      request_us.push_back(1e3 * time_of([&] { asks.ask(client); }));
      call_us.push_back(1e3 * time_of([&] { calls.ask_directly(); }));
    }
  }

  [[nodiscard]] double overhead_us() const {
    return report::median(request_us) - report::median(call_us);
  }
};

std::vector<Crowd> crowds_of(std::size_t clients) {
  std::vector<Crowd> crowds;
  for (std::size_t count = 1; count < clients; count *= 2) {
    crowds.push_back({.clients = count});
  }
  crowds.push_back({.clients = clients});
  return crowds;
}

report::Json crowd_to_json(const Crowd& crowd) {
  return {{"clients", crowd.clients},
          {"requests_per_second", ratio_to_json(crowd.requests_per_second)},
          {"rows_per_run", crowd.rows / crowd.runs},
          {"wait_ms",
           {{"median", report::median(crowd.wait_ms)},
            {"p99", report::quantile(crowd.wait_ms, 0.99)},
            {"max", *std::ranges::max_element(crowd.wait_ms)}}}};
}

}  // namespace

BenchReport bench_evaluator(const Model& model, const BenchOptions& options) {
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t clients = options.clients.value_or(kDefaultClients);
  const std::size_t requests = options.tokens.value_or(std::min(kDefaultRequests, positions / 4));
  if (options.depths.size() > 1) {
    throw UsageError("--depth: one value is needed with --mode evaluator");
  }
  const std::size_t depth =
      options.depths.empty() ? std::min(kDefaultText, positions / 4) : options.depths.front();
  check_positions(fmt::format("texts of {} tokens (--depth + --tokens)", depth + requests),
                  depth + requests, model);

  BenchReport report;
  report.agreement = new_agreement(model);
  std::vector<Crowd> crowds = crowds_of(clients);
  OneClient one;
  for (std::size_t round = 0; round <= options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round, options.repeat), round, options.repeat + 1});
    if (round == 1) {  // the first one warmed up
      crowds = crowds_of(clients);
      one = {};
    }
    one.measure(model, depth, requests);
    for (Crowd& crowd : crowds) {
      play(model, crowd, depth, requests, round == 0 ? &report.agreement : nullptr);
    }
  }

  report.json = {{"depth", depth},
                 {"requests_of_a_client", requests},
                 {"direct_call_us", report::median(one.call_us)},
                 {"overhead_us", one.overhead_us()},
                 {"crowds", report::Json::array()}};
  report::Table table({"Clients", "Requests/s", "Over 1 client", "Rows a run", "Wait, median ms",
                       "p99", "longest"});
  for (const Crowd& crowd : crowds) {
    report.json["crowds"].push_back(crowd_to_json(crowd));
    table.add_row(
        {std::to_string(crowd.clients),
         fmt::format("{:.0f}", report::median(crowd.requests_per_second)),
         format_ratio(ratios(crowd.requests_per_second, crowds.front().requests_per_second)),
         fmt::format("{:.1f}", crowd.rows / crowd.runs),
         fmt::format("{:.3f}", report::median(crowd.wait_ms)),
         fmt::format("{:.3f}", report::quantile(crowd.wait_ms, 0.99)),
         fmt::format("{:.3f}", *std::ranges::max_element(crowd.wait_ms))});
  }
  report.text = fmt::format(
      "{}\nA request of one client takes {:.1f} us longer than the direct call's {:.1f} us\n",
      table.to_string(), one.overhead_us(), report::median(one.call_us));
  return report;
}

}  // namespace kvcache::cli
