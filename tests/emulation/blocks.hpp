// A GPU's blocks on the host: a block is a thread, its lanes are contexts that take turns. Whoever
// waits gives its turn away, so that blocks that wait for each other all get on.
//
// What is wrong in the arithmetic or the order of messages is wrong here, too. Of memory's ways on
// a GPU nothing is: a copy is there at once, and a write is seen by all.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>

extern thread_local uint3 threadIdx;
extern thread_local uint3 blockIdx;
extern thread_local dim3 gridDim;
extern thread_local dim3 blockDim;

namespace kvcache::emulation {

constexpr int kLanes = 32;
constexpr std::size_t kSharedBytes = 232448;  // of a block, as an H200 grants

/// Of a launch, in the order in which <<<>>> has them.
struct Launch {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

/// Runs a kernel to its end: `together` all blocks at once, or one after the other. Those along z
/// are a cluster, which runs at once in any case.
void run(const Launch& launch, bool together, const std::function<void()>& kernel);

/// By a lane: gives its turn away.
void yield();

/// By a lane: waits at the block's barrier `number` until `count` lanes have come.
void wait_at_barrier(int number, int count);

/// By a lane: counts it among those of its cluster that have come, or waits for all of them.
void arrive_at_cluster();
void wait_for_cluster();

/// Where another block of the cluster has what this one has at `own`, in shared memory.
void* in_block(const void* own, unsigned rank);

/// By the lanes of a warp that `mask` has: to `all`, [kLanes], what each of them has, `bytes` each.
void gather(unsigned mask, const void* own, std::size_t bytes, void* all);

/// Counts on, and yields: who looks at the clock waits.
unsigned clock();

/// The block's memory of the launch's size. That of the program's, `__shared__`, is a thread's.
unsigned char* dynamic_memory();

/// Where shared memory begins: addresses in it are 32 bits from there, either way.
char* shared_origin();

}  // namespace kvcache::emulation
