//! What the framework keeps for a process: its virtual machine, and what that one sees of memory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use applevisor_sys::{hv_error_t, hv_ipa_t, hv_memory_flags_t, hv_return_t, hv_vcpu_t};
use engine_soft::domain::Domain;
use machine::{
    clock::{HostClock, ticks_from_nanos},
    layout::COUNTER_HZ,
    memory::{Extent, GuestMemory},
};

/// vCPUs of a virtual machine.
pub const MOST_VCPUS: u32 = 4;

/// Bits of a guest physical address: by default, and at most (those of an Apple M1).
pub(crate) const DEFAULT_IPA_BITS: u32 = 36;
pub(crate) const MAX_IPA_BITS: u32 = 40;

/// The pages that a guest's memory is mapped in.
const PAGE: u64 = 16 << 10;

/// What a call answers that did not succeed.
pub(crate) type Refusal = hv_error_t;

/// What a call answers.
pub(crate) fn code(result: Result<(), Refusal>) -> hv_return_t {
    match result {
        Ok(()) => hv_error_t::HV_SUCCESS as hv_return_t,
        Err(refusal) => refusal as hv_return_t,
    }
}

static PROCESS: Mutex<Process> =
    Mutex::new(Process { vm: None, lent: Vec::new(), denied: false, next_vcpu: 1 });

/// Everything that is one for the whole process.
pub(crate) struct Process {
    pub(crate) vm: Option<Vm>,
    lent: Vec<GuestMemory>,
    denied: bool,
    /// Identifiers are not used twice.
    next_vcpu: hv_vcpu_t,
}

/// The virtual machine.
pub(crate) struct Vm {
    ipa_bits: u32,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) vcpus: BTreeMap<hv_vcpu_t, Arc<Shared>>,
    pub(crate) domain: Arc<Domain>,
}

/// What the guest sees of the process.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) ipa: hv_ipa_t,
    pub(crate) size: u64,
    /// Host address.
    pub(crate) host: usize,
    pub(crate) flags: hv_memory_flags_t,
}

/// What other threads may see of a vCPU.
pub(crate) struct Shared {
    /// Its place in the [`Domain`], which is its affinity 0 once that is set.
    pub(crate) index: AtomicUsize,
    /// Its run is to end, or the next one.
    pub(crate) canceled: AtomicBool,
}

pub(crate) fn process() -> MutexGuard<'static, Process> {
    // Every change is made whole.
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test's turn with the process's one virtual machine. The program has the entitlement, and memory that was lent
/// before is forgotten.
pub struct Turn {
    _turn: MutexGuard<'static, ()>,
}

/// Waits for the turn of the calling test: others in this process have virtual machines too.
pub fn turn() -> Turn {
    static TURNS: Mutex<()> = Mutex::new(());
    let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut process = process();
    process.denied = false;
    process.lent.clear();
    Turn { _turn: turn }
}

/// Lets the stand-in's processor reach `memory`, once it is mapped as `hv_vm_map` does it, and not before.
pub fn lend(memory: &GuestMemory) {
    process().lent.push(memory.clone());
}

/// Has macOS deny a virtual machine to this program, as to one without the entitlement, or not.
pub fn deny(denied: bool) {
    process().denied = denied;
}

impl Process {
    /// hv_vm_create.
    pub(crate) fn create(&mut self, ipa_bits: u32) -> Result<(), Refusal> {
        if self.denied {
            return Err(Refusal::HV_DENIED);
        }
        if self.vm.is_some() {
            return Err(Refusal::HV_BUSY);
        }
        // A vCPU has a place of its own before its affinity is set.
        let domain = Arc::new(Domain::new(2 * MOST_VCPUS as usize));
        self.vm = Some(Vm { ipa_bits, mappings: Vec::new(), vcpus: BTreeMap::new(), domain });
        Ok(())
    }

    /// hv_vm_destroy: "Requires all vCPUs be destroyed."
    pub(crate) fn destroy(&mut self) -> Result<(), Refusal> {
        if !self.vm()?.vcpus.is_empty() {
            return Err(Refusal::HV_BUSY);
        }
        self.vm = None;
        Ok(())
    }

    pub(crate) fn vm(&mut self) -> Result<&mut Vm, Refusal> {
        self.vm.as_mut().ok_or(Refusal::HV_NO_DEVICE)
    }

    /// A new vCPU's identifier and what is shared of it.
    pub(crate) fn add_vcpu(&mut self) -> Result<(hv_vcpu_t, Arc<Shared>, Arc<Domain>), Refusal> {
        let id = self.next_vcpu;
        let vm = self.vm()?;
        if vm.vcpus.len() >= MOST_VCPUS as usize {
            return Err(Refusal::HV_NO_RESOURCES);
        }
        let taken = |index: usize| {
            vm.vcpus.values().any(|shared| shared.index.load(std::sync::atomic::Ordering::SeqCst) == index)
        };
        let most = MOST_VCPUS as usize;
        let index = (most..2 * most).find(|&index| !taken(index)).ok_or(Refusal::HV_NO_RESOURCES)?;
        let shared = Arc::new(Shared { index: AtomicUsize::new(index), canceled: AtomicBool::new(false) });
        vm.vcpus.insert(id, Arc::clone(&shared));
        let domain = Arc::clone(&vm.domain);
        self.next_vcpu += 1;
        Ok((id, shared, domain))
    }

    /// The memory that a vCPU reaches: what is lent and mapped at its place, every byte.
    pub(crate) fn memory(&self) -> Option<GuestMemory> {
        let vm = self.vm.as_ref()?;
        self.lent.iter().find(|memory| vm.shows(memory)).cloned()
    }
}

impl Vm {
    /// hv_vm_map: "`addr` [...] must be page-aligned", "`ipa` [...] must be page-aligned", "`size` [...] must be a multiple
    /// of the page size". The host's page is this host's.
    pub(crate) fn map(
        &mut self,
        host: usize,
        ipa: hv_ipa_t,
        size: usize,
        flags: hv_memory_flags_t,
    ) -> Result<(), Refusal> {
        let size = size as u64;
        let end = ipa.checked_add(size).ok_or(Refusal::HV_BAD_ARGUMENT)?;
        let aligned = ipa.is_multiple_of(PAGE)
            && size.is_multiple_of(PAGE)
            && host.is_multiple_of(rustix::param::page_size());
        if !aligned || size == 0 || host == 0 || flags & !0b111 != 0 || end > 1 << self.ipa_bits {
            return Err(Refusal::HV_BAD_ARGUMENT);
        }
        if self.mappings.iter().any(|mapping| mapping.ipa < end && ipa < mapping.ipa + mapping.size) {
            return Err(Refusal::HV_ERROR);
        }
        self.mappings.push(Mapping { ipa, size, host, flags });
        Ok(())
    }

    /// hv_vm_unmap, of what was mapped at once.
    pub(crate) fn unmap(&mut self, ipa: hv_ipa_t, size: usize) -> Result<(), Refusal> {
        let found =
            self.mappings.iter().position(|mapping| mapping.ipa == ipa && mapping.size == size as u64);
        self.mappings.swap_remove(found.ok_or(Refusal::HV_BAD_ARGUMENT)?);
        Ok(())
    }

    /// Whether the guest sees all of `memory` where the machine has it.
    pub(crate) fn shows(&self, memory: &GuestMemory) -> bool {
        memory.extents().into_iter().all(|Extent { gpa, len, host }| {
            self.mappings.iter().any(|mapping| {
                mapping.ipa == gpa
                    && mapping.size == len
                    && mapping.host == host.addr()
                    && mapping.flags & 0b11 == 0b11
            })
        })
    }
}

/// The clock of `mach_absolute_time`, which started some time before the process did.
static UPTIME: LazyLock<HostClock> = LazyLock::new(|| HostClock::starting_at(3600 * 1_000_000_000));

/// `mach_absolute_time`: ticks of the host's counter.
pub(crate) fn absolute_time() -> u64 {
    ticks_from_nanos(UPTIME.nanos())
}

/// The clock of a guest whose counter is `absolute_time() - offset`, never less.
pub(crate) fn guest_clock(offset: u64) -> HostClock {
    // As a signed number: a guest may have been up for longer than its host.
    let behind = i128::from(offset as i64) * 1_000_000_000;
    let ahead = (-behind).div_euclid(i128::from(COUNTER_HZ)) + 1;
    UPTIME.shifted(ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}
