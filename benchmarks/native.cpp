// RLtools' SAC, or with CULMEN_PPO its PPO, on its own Pendulum, with layers of 64 units. native.py builds
// it, gives settings as macros (CULMEN_...), and starts it with a seed and the steps of a piece. The program
// prints which BLAS it runs with; then, for each line on standard input, it trains a piece of one run and prints
// its seconds.

#include <rl_tools/operations/cpu_mux.h>
#include <rl_tools/nn/optimizers/adam/instance/operations_generic.h>
#include <rl_tools/nn/operations_cpu_mux.h>
#include <rl_tools/rl/environments/pendulum/operations_cpu.h>
#include <rl_tools/nn/layers/sample_and_squash/operations_generic.h>
#include <rl_tools/nn/layers/standardize/operations_generic.h>
#include <rl_tools/nn_models/mlp_unconditional_stddev/operations_generic.h>
#include <rl_tools/nn_models/sequential/operations_generic.h>
#include <rl_tools/nn/optimizers/adam/operations_generic.h>
#ifdef CULMEN_PPO
#include <rl_tools/rl/algorithms/ppo/loop/core/config.h>
#include <rl_tools/rl/algorithms/ppo/loop/core/operations_generic.h>
#else
#include <rl_tools/rl/algorithms/sac/loop/core/config.h>
#include <rl_tools/rl/algorithms/sac/loop/core/operations_generic.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace rlt = rl_tools;
using Device = rlt::devices::DEVICE_FACTORY<>;
using Rng = Device::SPEC::RANDOM::ENGINE<>;
using Index = Device::index_t;
using Types = rlt::numeric_types::Policy<float>;
namespace environments = rlt::rl::environments;
using Pendulum = environments::Pendulum<environments::pendulum::Specification<float, Index>>;
static_assert(Device::DEVICE_ID == rlt::devices::DeviceId::CPU_OPENBLAS);
extern "C" char* scipy_openblas_get_config();
extern "C" char* scipy_openblas_get_corename();
extern "C" int scipy_openblas_get_num_threads();

#ifdef CULMEN_PPO
namespace core = rlt::rl::algorithms::ppo::loop::core;
struct Settings: core::DefaultParameters<Types, Index, Pendulum>{
    static constexpr Index STEP_LIMIT = Index(1) << 40, EPISODE_STEP_LIMIT = Pendulum::EPISODE_STEP_LIMIT;
    static constexpr Index N_ENVIRONMENTS = CULMEN_LANES, ON_POLICY_RUNNER_STEPS_PER_ENV = CULMEN_UNROLL;
    static constexpr Index BATCH_SIZE = CULMEN_LANES * CULMEN_UNROLL / CULMEN_MINIBATCHES;
    static constexpr auto ACTOR_ACTIVATION_FUNCTION = rlt::nn::activation_functions::CULMEN_ACTIVATION;
    static constexpr auto CRITIC_ACTIVATION_FUNCTION = ACTOR_ACTIVATION_FUNCTION;
    struct PPO_PARAMETERS: rlt::rl::algorithms::ppo::DefaultParameters<Types, Index, BATCH_SIZE>{
        static constexpr Index N_EPOCHS = CULMEN_EPOCHS;
        static constexpr float INITIAL_ACTION_STD = 1, ACTION_ENTROPY_COEFFICIENT = 0;
    };
};
constexpr Index STEPS = CULMEN_LANES * CULMEN_UNROLL;  // of a call
#else
namespace core = rlt::rl::algorithms::sac::loop::core;
struct Settings: core::DefaultParameters<Types, Index, Pendulum>{
    static constexpr Index STEP_LIMIT = Index(1) << 40, REPLAY_BUFFER_CAP = CULMEN_CAPACITY;
    static constexpr Index N_WARMUP_STEPS = CULMEN_RANDOM;
    static constexpr Index N_WARMUP_STEPS_CRITIC = CULMEN_RANDOM, N_WARMUP_STEPS_ACTOR = CULMEN_RANDOM;
    struct SAC_PARAMETERS: rlt::rl::algorithms::sac::DefaultParameters<Types, Index>{
        static constexpr Index ACTOR_BATCH_SIZE = CULMEN_BATCH, CRITIC_BATCH_SIZE = CULMEN_BATCH;
        static constexpr float ALPHA = 1;
    };
};
constexpr Index STEPS = 1;  // of a call
#endif
using Config = core::Config<Types, Index, Rng, Pendulum, Settings>;

int main(int, char** arguments){
    static Device device;
    static Config::State<Config> state;
    rlt::init(device);
    rlt::malloc(device, state);
    rlt::init(device, state, Index(std::atol(arguments[1])));
    const Index steps = std::atol(arguments[2]);
    std::printf("\"%s, %s kernels, %d thread\"\n", scipy_openblas_get_config(), scipy_openblas_get_corename(),
                scipy_openblas_get_num_threads());
    Index calls = 0;
    for(std::fflush(stdout); std::getchar() != EOF; std::fflush(stdout)){
        const auto begin = std::chrono::steady_clock::now();
        for(Index done = 0; done < steps; done += STEPS, calls++) rlt::step(device, state);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        std::printf("%.9f\n", seconds.count());
#ifdef CULMEN_PPO
        const Index updates = rlt::get(device, state.actor_optimizer.age, 0) - 1;  // of both networks
        const Index due = calls * 2 * CULMEN_EPOCHS * CULMEN_MINIBATCHES;
#else
        const Index updates = rlt::get(device, state.actor_critic.actor_optimizer.age, 0) - 1;
        const Index due = calls > CULMEN_RANDOM ? calls - CULMEN_RANDOM : 0;
#endif
        if(updates != due) return 1;  // it was not the work that is compared
    }
}
