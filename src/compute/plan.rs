//! The thread plan: how many instances and threads a model gets of the CPUs that this process may really use.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

/// How a model's work is laid out over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Engines, each on a thread of its own.
    pub instances: usize,
    /// Threads that one run uses, the runner's own included.
    pub intra_op_threads: usize,
}

impl ThreadPlan {
    /// The plan for a model on `cpus` CPUs; what the settings leave open is chosen here.
    ///
    /// By default each instance runs on its own thread alone: on two cores two instances of one thread were as fast as
    /// one of two, or faster, in most models, and threads that hand work to one another would have to spin to be
    /// quick. No more than [`MAX_INSTANCES`] are made unasked, since each holds the weights again; CPUs beyond that
    /// go into the threads of each.
    pub fn new(cpus: usize, instances: Option<usize>, intra_op_threads: Option<usize>) -> ThreadPlan {
        let cpus = cpus.max(1);
        let (instances, intra_op_threads) = match (instances, intra_op_threads) {
            (Some(instances), Some(threads)) => (instances, threads),
            (Some(instances), None) => (instances, cpus / instances.max(1)),
            (None, Some(threads)) => ((cpus / threads.max(1)).min(MAX_INSTANCES), threads),
            (None, None) => (cpus.min(MAX_INSTANCES), cpus / cpus.min(MAX_INSTANCES)),
        };
        ThreadPlan { instances: instances.max(1), intra_op_threads: intra_op_threads.max(1) }
    }
}

/// Instances of a model that are made without being asked for.
pub const MAX_INSTANCES: usize = 4;

/// CPUs that this process may use: the cgroup's quota where there is one, never more than the scheduler grants.
/// A quota of part of a CPU counts as a whole one.
pub fn cpus() -> usize {
    let granted = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // The standard library reads the quota too, but rounds it down to no less than one; a quota of 1.5 is two here.
    quota(Path::new("/sys/fs/cgroup")).map_or(granted, |quota| quota.min(host_cpus().unwrap_or(granted))).max(1)
}

/// CPUs that the scheduler may put this process on, whatever its quota.
fn host_cpus() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').map(range_len).sum()
}

fn range_len(range: &str) -> Option<usize> {
    match range.split_once('-') {
        Some((first, last)) => Some(last.parse::<usize>().ok()? - first.parse::<usize>().ok()? + 1),
        None => range.parse::<usize>().ok().map(|_| 1),
    }
}

/// The quota of the control group mounted at `root`, in CPUs rounded up: version 2, else version 1.
fn quota(root: &Path) -> Option<usize> {
    let (quota, period) = match fs::read_to_string(root.join("cpu.max")) {
        Ok(max) => {
            let (quota, period) = max.trim().split_once(' ')?;
            (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
        }
        Err(_) => (number(&root.join("cpu/cpu.cfs_quota_us"))?, number(&root.join("cpu/cpu.cfs_period_us"))?),
    };
    (period > 0).then(|| quota.div_ceil(period) as usize)
}

fn number(file: &Path) -> Option<u64> {
    // No quota is written as -1, which is no u64.
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_one_thread_per_instance_until_instances_run_out() {
        assert_eq!(ThreadPlan::new(1, None, None), ThreadPlan { instances: 1, intra_op_threads: 1 });
        assert_eq!(ThreadPlan::new(2, None, None), ThreadPlan { instances: 2, intra_op_threads: 1 });
        assert_eq!(ThreadPlan::new(16, None, None), ThreadPlan { instances: 4, intra_op_threads: 4 });
    }

    #[test]
    fn what_the_settings_say_is_kept_and_the_rest_fits_around_it() {
        assert_eq!(ThreadPlan::new(8, Some(2), None), ThreadPlan { instances: 2, intra_op_threads: 4 });
        assert_eq!(ThreadPlan::new(8, None, Some(4)), ThreadPlan { instances: 2, intra_op_threads: 4 });
        assert_eq!(ThreadPlan::new(2, Some(6), None), ThreadPlan { instances: 6, intra_op_threads: 1 });
        assert_eq!(ThreadPlan::new(2, Some(3), Some(5)), ThreadPlan { instances: 3, intra_op_threads: 5 });
    }

    #[test]
    fn quotas_of_both_control_group_versions_are_read_and_rounded_up() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(quota(root.path()), None);
        fs::create_dir(root.path().join("cpu")).unwrap();
        fs::write(root.path().join("cpu/cpu.cfs_quota_us"), "-1\n").unwrap();
        fs::write(root.path().join("cpu/cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(quota(root.path()), None);
        fs::write(root.path().join("cpu/cpu.cfs_quota_us"), "200000\n").unwrap();
        assert_eq!(quota(root.path()), Some(2));
        fs::write(root.path().join("cpu.max"), "150000 100000\n").unwrap();
        assert_eq!(quota(root.path()), Some(2));
        fs::write(root.path().join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(quota(root.path()), None);
    }
}
