//! Several things done at once, a few at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::Result;

/// Does `work` for each item on up to `workers` threads and returns what came of each, in order. After an error no
/// other item is begun; of several errors the one of the first item is returned.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order() {
        let items: Vec<u64> = (0..50).collect();
        for workers in [1, 3, 100] {
            let doubled = map(&items, workers, |item| {
                thread::sleep(std::time::Duration::from_micros(50 - item));
                Ok(item * 2)
            });
            assert_eq!(doubled.unwrap(), (0..50).map(|item| item * 2).collect::<Vec<u64>>());
        }
        assert!(map(&[] as &[u8], 4, |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn an_error_ends_it() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1000).collect();
        for (workers, most) in [(1, 6), (2, 1000)] {
            begun.store(0, Ordering::Relaxed);
            let results = map(&items, workers, |item| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *item == 5 { Err(Error::Unresolved("five".into())) } else { Ok(()) }
            });
            assert!(begun.load(Ordering::Relaxed) <= most);
            assert_eq!(results.unwrap_err().to_string(), "five");
        }
    }
}
