//! Work on several threads whose results are taken in the order of the jobs, so that what comes out does not depend on
//! the threads.

use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

/// How many results of a thread may wait.
const WAITING: usize = 4;

/// How many threads there are to use.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(64)
}

/// Does `work` on each job and hands what comes of it to `take`, in the order of the jobs, on this thread. Each thread
/// has a tool of its own, which `tool` makes. What has been done and not taken is bounded. The first error ends it.
pub fn in_order<J: Sync, W, T: Send, E: Send>(
    jobs: &[J],
    threads: usize,
    tool: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, &J) -> Result<T, E> + Sync,
    mut take: impl FnMut(&J, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.min(jobs.len());
    if threads < 2 {
        let mut tool = tool();
        return jobs.iter().try_for_each(|job| take(job, work(&mut tool, job)?));
    }
    thread::scope(|scope| {
        let (tool, work) = (&tool, &work);
        let results: Vec<_> = (0..threads)
            .map(|number| {
                let (sender, receiver) = sync_channel(WAITING);
                scope.spawn(move || {
                    let mut tool = tool();
                    for job in jobs.iter().skip(number).step_by(threads) {
                        // Nobody takes it any more after an error.
                        if sender.send(work(&mut tool, job)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for (job, results) in jobs.iter().zip(results.iter().cycle()) {
            // A thread that panicked has nothing to give; the scope passes its panic on.
            let Ok(result) = results.recv() else { break };
            take(job, result?)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_whatever_the_threads() {
        let jobs: Vec<u64> = (0..100).collect();
        for threads in [0, 1, 2, 3, 7, 1000] {
            let mut taken = Vec::new();
            let work = |_: &mut (), job: &u64| {
                thread::sleep(Duration::from_micros(job * 37 % 200));
                Ok::<_, ()>(job * 2)
            };
            in_order(
                &jobs,
                threads,
                || (),
                work,
                |job, result| {
                    taken.push((*job, result));
                    Ok(())
                },
            )
            .unwrap();
            assert!(taken.iter().copied().eq((0..100).map(|job| (job, job * 2))), "{threads}");
        }
    }

    #[test]
    fn the_first_error_in_order_ends_it_and_the_work_ahead_is_bounded() {
        let jobs: Vec<usize> = (0..10_000).collect();
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), job: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *job >= 20 { Err(*job) } else { Ok(()) }
        };
        assert_eq!(in_order(&jobs, 2, || (), work, |_, ()| Ok(())), Err(20));
        assert!(begun.into_inner() < 20 + 2 * (WAITING + 2));
    }
}
