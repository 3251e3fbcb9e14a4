//! The inner shareable domain: what vCPUs tell each other, from whatever host thread each runs on.
//!
//! Maintenance that is broadcast (TLBI and IC of the inner shareable domain) goes as letters to every other
//! vCPU. One that is executing guest code is made to leave its block, does what its letters ask, and goes on; the
//! sender's DSB waits for that (Arm ARM B2.3.9, D8.13.5). One that is not executing does it before it executes again,
//! so nobody waits for it.

use std::{
    hint, mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::core::Maintenance;

/// Letters kept for a vCPU that does not execute, such as one that is off; beyond, they become one that asks for
/// everything.
const MAX_LETTERS: usize = 64;

/// Looks at a vCPU that has not left its block yet before the host's scheduler is asked to let it run.
const SPINS: u32 = 500;

/// Every vCPU of one machine.
pub struct Domain {
    links: Vec<Link>,
}

/// What others may see and change of one vCPU.
#[derive(Default)]
pub struct Link {
    /// Instructions after which the run leaves its block; 0 makes it leave the current one.
    limit: AtomicU64,
    /// The run is to end.
    kicked: AtomicBool,
    /// It executes guest code, or is about to.
    inside: AtomicBool,
    /// Letters sent to it.
    sent: AtomicU64,
    /// Letters it has done.
    done: AtomicU64,
    letters: Mutex<Vec<Maintenance>>,
}

impl Link {
    /// Where a run looks for its limit after each block. Only [`Link::arm`] raises it.
    pub fn limit(&self) -> &AtomicU64 {
        &self.limit
    }

    /// Sets the limit of the run, or sets it again after a disturbance.
    pub fn arm(&self, limit: u64) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// Whether the run is to leave its block, or was to since the last [`Link::arm`].
    pub fn disturbed(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == 0
    }

    /// Makes the current run end, or the next one if there is none.
    pub fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.limit.store(0, Ordering::SeqCst);
    }

    /// Whether a kick waits to be obeyed.
    pub fn kicked(&self) -> bool {
        self.kicked.load(Ordering::SeqCst)
    }

    /// The run obeys its kick.
    pub fn obey(&self) {
        self.kicked.store(false, Ordering::SeqCst);
    }

    /// Whether letters wait.
    pub fn has_letters(&self) -> bool {
        self.sent.load(Ordering::SeqCst) != self.done.load(Ordering::Relaxed)
    }

    /// Has `act` do what every letter asks, and lets their senders go on.
    pub fn read(&self, act: impl FnMut(Maintenance)) {
        let (letters, sent) = {
            let mut letters = self.letters();
            (mem::take(&mut *letters), self.sent.load(Ordering::SeqCst))
        };
        letters.into_iter().for_each(act);
        self.done.store(sent, Ordering::SeqCst);
    }

    fn letters(&self) -> MutexGuard<'_, Vec<Maintenance>> {
        // A letter is pushed whole or not at all.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, what: Maintenance) {
        let mut letters = self.letters();
        if letters.len() >= MAX_LETTERS {
            let code = |letter: &Maintenance| {
                matches!(letter, Maintenance::CodePage(_) | Maintenance::AllCode { .. })
            };
            let any_code = letters.iter().any(code);
            letters.clear();
            letters.push(Maintenance::AllTranslations);
            if any_code {
                letters.push(Maintenance::AllCode { broadcast: true });
            }
        }
        letters.push(what);
        self.sent.fetch_add(1, Ordering::SeqCst);
        self.limit.store(0, Ordering::SeqCst);
    }
}

impl Domain {
    /// A domain of `vcpus` vCPUs, none of which executes.
    pub fn new(vcpus: usize) -> Self {
        Domain { links: (0..vcpus).map(|_| Link::default()).collect() }
    }

    /// Number of vCPUs.
    pub fn vcpus(&self) -> usize {
        self.links.len()
    }

    /// The link of vCPU `index`, which must be one of the domain.
    pub fn link(&self, index: usize) -> &Link {
        &self.links[index]
    }

    /// vCPU `index` begins to execute. It reads its letters after this and before its first instruction.
    pub fn enter(&self, index: usize) {
        self.links[index].inside.store(true, Ordering::SeqCst);
    }

    /// vCPU `index` has stopped executing.
    pub fn leave(&self, index: usize) {
        self.links[index].inside.store(false, Ordering::SeqCst);
    }

    /// Sends a letter to every vCPU but `from`.
    pub fn broadcast(&self, from: usize, what: Maintenance) {
        self.others(from).for_each(|link| link.send(what));
    }

    /// Waits until every other vCPU has done what it was asked so far. While it waits, `from` counts as not
    /// executing, so that two can wait for each other; it must read its letters before it goes on.
    pub fn wait(&self, from: usize) {
        self.leave(from);
        for link in self.others(from) {
            let sent = link.sent.load(Ordering::SeqCst);
            let mut spins = 0;
            while link.inside.load(Ordering::SeqCst) && link.done.load(Ordering::SeqCst) < sent {
                if spins < SPINS {
                    spins += 1;
                    hint::spin_loop();
                } else {
                    thread::yield_now();
                }
            }
        }
        self.enter(from);
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Link> {
        self.links.iter().enumerate().filter(move |&(other, _)| other != index).map(|(_, link)| link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &Link) -> Vec<Maintenance> {
        let mut seen = Vec::new();
        link.read(|what| seen.push(what));
        seen
    }

    #[test]
    fn a_letter_reaches_the_others_and_disturbs_them() {
        let domain = Domain::new(3);
        domain.link(1).arm(100);
        domain.broadcast(0, Maintenance::Asid(7));
        assert!(domain.link(1).disturbed() && domain.link(1).has_letters() && !domain.link(0).has_letters());
        for other in [1, 2] {
            assert_eq!(read(domain.link(other)), [Maintenance::Asid(7)]);
            assert!(!domain.link(other).has_letters());
        }
        assert!(!domain.link(1).kicked());
    }

    #[test]
    fn letters_to_one_who_is_off_are_bounded_and_lose_nothing() {
        let domain = Domain::new(2);
        for page in 0..10_000 {
            domain.broadcast(0, Maintenance::Page(page << 12));
        }
        domain.broadcast(0, Maintenance::CodePage(0x4000_0000));
        for page in 0..1000 {
            domain.broadcast(0, Maintenance::Page(page << 12));
        }
        let letters = read(domain.link(1));
        assert!(letters.len() <= MAX_LETTERS + 3);
        assert!(letters.contains(&Maintenance::AllTranslations));
        assert!(letters.contains(&Maintenance::AllCode { broadcast: true }));
        assert!(!domain.link(1).has_letters());
    }

    #[test]
    fn nobody_waits_for_one_who_does_not_execute() {
        let domain = Domain::new(2);
        domain.broadcast(0, Maintenance::AllTranslations);
        domain.wait(0);
    }

    #[test]
    fn a_barrier_waits_until_the_letters_are_done() {
        let domain = Domain::new(2);
        let done = AtomicBool::new(false);
        domain.enter(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let link = domain.link(1);
                while !link.has_letters() {
                    thread::yield_now();
                }
                link.read(|_| {
                    thread::sleep(std::time::Duration::from_millis(5));
                    done.store(true, Ordering::SeqCst);
                });
            });
            domain.broadcast(0, Maintenance::AllTranslations);
            domain.wait(0);
            assert!(done.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn two_may_wait_for_each_other() {
        let domain = Domain::new(2);
        thread::scope(|scope| {
            for me in 0..2 {
                let domain = &domain;
                scope.spawn(move || {
                    domain.enter(me);
                    for _ in 0..2000 {
                        domain.broadcast(me, Maintenance::AllTranslations);
                        domain.wait(me);
                        domain.link(me).read(|_| {});
                    }
                    domain.leave(me);
                });
            }
        });
        assert!(!domain.link(0).has_letters() || !domain.link(1).has_letters());
    }

    #[test]
    fn a_kick_is_kept_until_it_is_obeyed() {
        let domain = Domain::new(1);
        let link = domain.link(0);
        link.kick();
        link.arm(100);
        assert!(link.kicked() && !link.disturbed());
        link.obey();
        assert!(!link.kicked());
    }
}
