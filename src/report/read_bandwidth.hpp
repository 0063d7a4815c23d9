// How fast this machine reads memory at the moment: what decoding is measured against.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace kvcache::report {

/// What one way of reading reached, in bytes per second.
struct ShapeBandwidth {
  std::string shape;  // "4 streams, prefetch"
  std::vector<double> samples;
};

struct BandwidthResult {
  int threads = 0;
  std::size_t array_bytes = 0;  // read in one pass by all threads together
  std::vector<ShapeBandwidth> shapes;
  std::size_t best = 0;         // the shape with the largest median
  double bytes_per_second = 0;  // its median

  /// The best shape's bandwidth in that sample and the next one, both passes together.
  [[nodiscard]] double around(std::size_t sample) const;
};

/// Reads an array in huge pages with all threads at once, in several ways.
///
/// No single way is the fastest on every machine, so each sample tries all of them and the result
/// is the best one's median. Bandwidth changes within seconds: take samples between the pieces of
/// what is compared with it, and compare each piece with the samples before and after it. Not
/// copyable.
class ReadBandwidth {
 public:
  /// Takes the array's memory: as many bytes as are read by what is compared, so that the
  /// processor's caches help both alike; at least 2 MiB a thread.
  /// @throws std::bad_alloc
  ReadBandwidth(int threads, std::size_t array_bytes);
  ReadBandwidth(const ReadBandwidth&) = delete;
  ReadBandwidth& operator=(const ReadBandwidth&) = delete;
  ~ReadBandwidth();

  /// Reads the array in every shape once, after a pass that fills the caches.
  void sample();
  /// How many there are.
  [[nodiscard]] std::size_t samples() const noexcept { return shapes_.front().samples.size(); }

  /// Needs at least one sample.
  [[nodiscard]] BandwidthResult result() const;

 private:
  struct Array;

  int threads_;
  std::size_t thread_bytes_;
  std::unique_ptr<Array> array_;
  std::vector<ShapeBandwidth> shapes_;
};

}  // namespace kvcache::report
