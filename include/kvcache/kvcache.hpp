// Everything a program needs.
#pragma once

#include "kvcache/batch.hpp"
#include "kvcache/error.hpp"
#include "kvcache/evaluator.hpp"
#include "kvcache/evaluator_metrics.hpp"
#include "kvcache/evaluator_request.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/model.hpp"
#include "kvcache/neural_policy.hpp"
#include "kvcache/options.hpp"
#include "kvcache/prefix_cache.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/shared_model_inferencer.hpp"
#include "kvcache/stats.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"
#include "kvcache/windowed_sequence.hpp"
