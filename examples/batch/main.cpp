// A small service: requests of different lengths come and go, and all that are under way take one
// step together. Usage: example_batch MODEL_DIR
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <list>
#include <vector>

namespace {

using kvcache::TokenId;

struct Request {
  int number;
  std::size_t wanted;           // tokens to generate
  std::vector<TokenId> prompt;  // waits to be encoded, then holds the last choice
  kvcache::Sequence sequence;
  std::vector<TokenId> generated;
};

/// One run for all: a prompt for those that are new, one token for the others.
void step(std::list<Request>& requests) {
  std::vector<kvcache::Extension> batch;
  for (Request& request : requests) {
    batch.push_back({&request.sequence, request.prompt});
  }
  const std::vector<kvcache::Logits> logits = kvcache::extend(batch);
  std::size_t row = 0;
  for (Request& request : requests) {
    request.generated.push_back(logits[row++].argmax());
    request.prompt = {request.generated.back()};
  }
}

/// The same request by itself.
std::vector<TokenId> generate_alone(const kvcache::Model& model, std::vector<TokenId> prompt,
                                    std::size_t wanted) {
  kvcache::Sequence sequence = model.new_sequence();
  std::vector<TokenId> generated;
  while (generated.size() < wanted) {
    generated.push_back(sequence.extend(prompt).argmax());
    prompt = {generated.back()};
  }
  return generated;
}

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  struct Arrival {
    int at_step;
    std::vector<TokenId> prompt;
    std::size_t wanted;
  };
  const std::vector<Arrival> arrivals{
      {0, {3, 1, 4, 1, 5}, 6}, {0, {2, 7}, 3}, {2, {1, 6, 1, 8, 0, 3, 3}, 4}, {5, {9}, 5}};

  std::list<Request> requests;
  std::size_t arrived = 0;
  bool all_equal = true;
  for (int now = 0; arrived < arrivals.size() || !requests.empty(); ++now) {
    for (; arrived < arrivals.size() && arrivals[arrived].at_step <= now; ++arrived) {
      const Arrival& arrival = arrivals[arrived];
      requests.push_back(
          {static_cast<int>(arrived), arrival.wanted, arrival.prompt, model.new_sequence(), {}});
    }
    if (requests.empty()) {
      continue;
    }
    step(requests);
    std::printf("step %d: %zu together\n", now, requests.size());
    for (auto request = requests.begin(); request != requests.end();) {
      if (request->generated.size() < request->wanted) {
        ++request;
        continue;
      }
      const Arrival& arrival = arrivals[static_cast<std::size_t>(request->number)];
      const bool equal =
          generate_alone(model, arrival.prompt, arrival.wanted) == request->generated;
      all_equal = all_equal && equal;
      std::printf("  request %d is done, %s\n", request->number,
                  equal ? "as if alone" : "NOT AS IF ALONE");
      request = requests.erase(request);  // its blocks are free again
    }
  }
  return all_equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_batch MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
