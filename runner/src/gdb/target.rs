//! What the protocol asks of a [`Debuggee`].

use gdbstub::{
    common::{Signal, Tid},
    target::{
        Target, TargetError, TargetResult,
        ext::{
            base::{
                BaseOps,
                multithread::{
                    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
                    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
                },
                single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps},
            },
            breakpoints::{
                Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps,
            },
            monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps},
            thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps},
        },
    },
};
use machine::engine::EngineError;

use super::{
    debuggee::{Action, Debuggee, Kind},
    registers::{Aarch64, Register, Registers},
};

/// The thread that vCPU `cpu` is to gdb, which counts from 1.
pub fn thread_of(cpu: usize) -> Tid {
    Tid::MIN.saturating_add(cpu)
}

/// The vCPU that a thread is.
fn cpu_of(tid: Tid) -> usize {
    tid.get() - 1
}

impl Target for Debuggee {
    type Arch = Aarch64;
    type Error = EngineError;

    fn base_ops(&mut self) -> BaseOps<'_, Aarch64, EngineError> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Debuggee {
    fn read_registers(&mut self, registers: &mut Registers, tid: Tid) -> TargetResult<(), Self> {
        *registers = Registers::of(&self.registers(cpu_of(tid)).ok_or(TargetError::NonFatal)?);
        Ok(())
    }

    fn write_registers(&mut self, registers: &Registers, tid: Tid) -> TargetResult<(), Self> {
        let mut state = self.registers(cpu_of(tid)).ok_or(TargetError::NonFatal)?;
        registers.put(&mut state);
        // What the engine can't hold is gdb's mistake and harms nobody.
        self.set_registers(cpu_of(tid), &state).map_err(|_| TargetError::NonFatal)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        match self.read_memory(cpu_of(tid), start, data) {
            0 if !data.is_empty() => Err(TargetError::NonFatal),
            count => Ok(count),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        self.write_memory(cpu_of(tid), start, data).map_err(|_| TargetError::NonFatal)
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), EngineError> {
        (0..self.vm_ref().cpus()).for_each(|cpu| thread_is_active(thread_of(cpu)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Debuggee {
    fn read_register(
        &mut self,
        tid: Tid,
        register: Register,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let value = register.read(&self.registers(cpu_of(tid)).ok_or(TargetError::NonFatal)?);
        buffer.get_mut(..value.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, register: Register, value: &[u8]) -> TargetResult<(), Self> {
        let mut state = self.registers(cpu_of(tid)).ok_or(TargetError::NonFatal)?;
        register.write(&mut state, value).map_err(|_| TargetError::NonFatal)?;
        self.set_registers(cpu_of(tid), &state).map_err(|_| TargetError::NonFatal)
    }
}

impl ThreadExtraInfo for Debuggee {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, EngineError> {
        let cpu = cpu_of(tid);
        let text = format!("vCPU {cpu} {}", self.activity(cpu));
        let len = text.len().min(buffer.len());
        buffer[..len].copy_from_slice(&text.as_bytes()[..len]);
        Ok(len)
    }
}

impl MultiThreadResume for Debuggee {
    fn resume(&mut self) -> Result<(), EngineError> {
        Debuggee::resume(self)
    }

    fn clear_resume_actions(&mut self) -> Result<(), EngineError> {
        self.clear_actions();
        Ok(())
    }

    // A vCPU knows no signals.
    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), EngineError> {
        self.set_action(cpu_of(tid), Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Debuggee {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), EngineError> {
        self.set_action(cpu_of(tid), Action::Step);
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Debuggee {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), EngineError> {
        self.lock();
        Ok(())
    }
}

impl Breakpoints for Debuggee {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debuggee {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(Kind::Software, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(Kind::Software, address))
    }
}

impl HwBreakpoint for Debuggee {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(Kind::Hardware, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(Kind::Hardware, address))
    }
}

impl MonitorCmd for Debuggee {
    fn handle_monitor_cmd(&mut self, line: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), EngineError> {
        out.write_raw(self.monitor(&String::from_utf8_lossy(line)).as_bytes());
        Ok(())
    }
}
