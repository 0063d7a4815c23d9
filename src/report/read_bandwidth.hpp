// How fast this machine can read memory: what decoding is measured against.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace kvcache::report {

/// What one way of reading reached, in bytes per second.
struct ShapeBandwidth {
  std::string shape;  // "4 streams, prefetch, huge pages"
  std::vector<double> samples;
};

struct BandwidthResult {
  int threads = 0;
  std::size_t array_bytes = 0;  // read in one pass by all threads together
  std::vector<ShapeBandwidth> shapes;
  std::size_t best = 0;         // the shape with the largest median
  double bytes_per_second = 0;  // its median
};

/// Reads arrays far larger than the last-level cache with all threads at once, in several ways.
///
/// No single way is the fastest on every machine (and, with the placement of pages, not even in
/// every process), so each sample tries all of them and the result is the best one's median. Take
/// samples between the measurements they are compared with: bandwidth drifts. Not copyable.
class ReadBandwidth {
 public:
  /// Takes the arrays' memory, twice `array_bytes` (with and without huge pages);
  /// 0: 256 MiB, or eight times the last-level cache where that is more.
  /// @throws std::bad_alloc
  explicit ReadBandwidth(int threads, std::size_t array_bytes = 0);
  ReadBandwidth(const ReadBandwidth&) = delete;
  ReadBandwidth& operator=(const ReadBandwidth&) = delete;
  ~ReadBandwidth();

  /// Reads its array in every shape `passes` times; each pass is a sample.
  void sample(int passes = 2);

  /// Needs at least one sample.
  [[nodiscard]] BandwidthResult result() const;

 private:
  struct Arrays;

  int threads_;
  std::size_t thread_bytes_;
  std::unique_ptr<Arrays> arrays_;
  std::vector<ShapeBandwidth> shapes_;
};

}  // namespace kvcache::report
