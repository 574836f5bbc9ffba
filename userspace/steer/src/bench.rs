//! Runs the kernel programs over frames, attached to nothing: for replay and for tests.

use std::time::Duration;

use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{TestRun, TestRunOptions},
};
use sluice_abi::{Hook, Reason, Verdict, map::MapSpec};

use sluice_policy::kernel::KernelPolicy;

use crate::{
    AddressKind, Counters, Error, FlowFill, LinkType,
    counters::{CounterMaps, Heartbeat},
    gateway::GatewayMap,
    generation::PolicyMaps,
    load::{Purpose, load_object, program, program_error},
    maps::{MapSource, array},
};

/// The clock that the programs read under REPLAY; never pinned, so not in the list of the ABI.
const REPLAY_CLOCK: MapSpec = MapSpec {
    name: "REPLAY_CLOCK",
    map_type: 2,
    key_size: 4,
    value_size: 8,
    max_entries: 1,
};

/// The kernel programs with maps of their own.
///
/// Frames go through `BPF_PROG_TEST_RUN`, which takes frames of up to about 3.5 KB and at least 14
/// bytes (34 where the first 14 read as an Ethernet header of IPv4, 54 of IPv6).
pub struct TestBench {
    object: Ebpf,
    policy: PolicyMaps,
    gateway: GatewayMap,
    counters: CounterMaps,
    heartbeat: Heartbeat,
    clock: Array<MapData, u64>,
    replay: bool,
}

/// What a program did to a frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawRun {
    /// What the program returned: a TCX code.
    pub code: i32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// `skb->mark` as the program left it.
    pub mark: u32,
    /// Time of one run, averaged over the repetitions.
    pub duration: Duration,
}

/// Offsets in `struct __sk_buff`, which only ever grows
/// (<https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L6088>).
mod sk_buff {
    pub(super) const SIZE: usize = 192;
    pub(super) const MARK: usize = 8;
    pub(super) const IFINDEX: usize = 40;
    pub(super) const CB: usize = 48;
}

type Context = [u8; sk_buff::SIZE];

fn word(context: &Context, at: usize) -> u32 {
    let bytes = context.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().map_or(0, u32::from_ne_bytes)
}

impl TestBench {
    /// The largest frame that the programs may make of one, and a page more.
    const OUT: usize = 8192;

    /// Loads the programs under REPLAY: they leave their verdict and end before any step that
    /// needs a socket. The daemon counts as alive, the clock stands at 0.
    ///
    /// # Errors
    ///
    /// [`Error::Stub`], or the kernel refuses the programs.
    pub fn new(link_type: LinkType) -> Result<Self, Error> {
        Self::load(link_type, true)
    }

    /// Loads the programs as they run live, for what they do to a frame; handing a packet to a
    /// socket always fails under test runs, and the clock is the machine's.
    ///
    /// # Errors
    ///
    /// [`Error::Stub`], or the kernel refuses the programs.
    pub fn live(link_type: LinkType) -> Result<Self, Error> {
        Self::load(link_type, false)
    }

    fn load(link_type: LinkType, replay: bool) -> Result<Self, Error> {
        let object = load_object(link_type, Purpose::Bench { replay })?;
        Ok(Self {
            policy: PolicyMaps::open(&object)?,
            gateway: GatewayMap::open(&object)?,
            counters: CounterMaps::open(&object)?,
            heartbeat: Heartbeat::open(&object)?,
            clock: array((&object).open_map(REPLAY_CLOCK)?, REPLAY_CLOCK)?,
            object,
            replay,
        })
    }

    /// Makes a policy current.
    ///
    /// # Errors
    ///
    /// [`Error::PolicyTooLarge`], or the kernel refused a write.
    pub fn publish(&mut self, policy: &KernelPolicy) -> Result<u32, Error> {
        self.policy.publish(policy)
    }

    /// Sets the gateway's own addresses.
    ///
    /// # Errors
    ///
    /// The kernel refused a write.
    pub fn set_gateway(
        &mut self,
        addresses: impl IntoIterator<Item = (std::net::IpAddr, AddressKind)>,
    ) -> Result<(), Error> {
        self.gateway.replace(addresses).map(drop)
    }

    /// Sets the daemon's latest sign of life, in [`monotonic_ns`](crate::monotonic_ns); 0: none. It
    /// is not looked at under REPLAY.
    ///
    /// # Errors
    ///
    /// The kernel refused a write.
    pub fn set_heartbeat(&mut self, time: u64) -> Result<(), Error> {
        self.heartbeat.set(time)
    }

    /// Lets a program judge a frame at a time of its clock, and returns the verdict and its
    /// reason.
    ///
    /// `ifindex` must be a device of this network namespace, or 0 or 1 for the loopback device.
    ///
    /// # Errors
    ///
    /// The kernel refused the frame, [`Error::Replay`] where the program left no verdict.
    pub fn run(
        &mut self,
        hook: Hook,
        frame: &[u8],
        ifindex: u32,
        now_ns: u64,
    ) -> Result<(Verdict, Reason), Error> {
        self.clock
            .set(0, now_ns, 0)
            .map_err(Error::map(REPLAY_CLOCK.name))?;
        let (_, context) = self.test_run(hook, frame, ifindex, 1)?;
        let word = word(&context, sk_buff::CB);
        let [reason, verdict, zero, magic] = word.to_le_bytes();
        match Reason::from_code(reason) {
            Some(reason) if magic == 0x51 && zero == 0 && verdict < 4 => {
                Ok((Verdict::from_bits(verdict), reason))
            }
            _ => Err(Error::Replay(word)),
        }
    }

    /// Lets a program work on a frame and returns what came out; with `repeat` above 1 the
    /// duration is an average, and the frame is what the last run left.
    ///
    /// # Errors
    ///
    /// The kernel refused the frame.
    pub fn run_raw(
        &mut self,
        hook: Hook,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<RawRun, Error> {
        self.test_run(hook, frame, ifindex, repeat)
            .map(|(run, _)| run)
    }

    fn test_run(
        &mut self,
        hook: Hook,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<(RawRun, Context), Error> {
        let mut context_in: Context = [0; sk_buff::SIZE];
        let field = context_in
            .get_mut(sk_buff::IFINDEX..)
            .and_then(|rest| rest.first_chunk_mut());
        if let Some(field) = field {
            *field = if ifindex > 1 {
                ifindex.to_ne_bytes()
            } else {
                [0; 4]
            };
        }
        let mut context: Context = [0; sk_buff::SIZE];
        let mut out = vec![0; Self::OUT];
        let run = program(&mut self.object, hook)?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context_in),
                ctx_out: Some(&mut context),
                repeat,
                ..TestRunOptions::default()
            })
            .map_err(program_error(hook))?;
        out.truncate(run.data_size_out as usize);
        let raw = RawRun {
            code: run.return_value.cast_signed(),
            frame: out,
            mark: word(&context, sk_buff::MARK),
            duration: run.duration,
        };
        Ok((raw, context))
    }

    /// What the programs counted.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.counters.read()
    }

    /// How full the flow tables are.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn flow_fill(&self) -> Result<FlowFill, Error> {
        crate::counters::flow_fill(&self.object)
    }

    /// Instructions that the verifier walked for a program.
    ///
    /// # Errors
    ///
    /// The kernel refused to describe it.
    pub fn verified_instructions(&mut self, hook: Hook) -> Result<u32, Error> {
        let info = program(&mut self.object, hook)?
            .info()
            .map_err(program_error(hook))?;
        Ok(info.verified_instruction_count().unwrap_or(0))
    }

    /// Bytes of a program as the verifier rewrote it.
    ///
    /// # Errors
    ///
    /// The kernel refused to describe it.
    pub fn translated_bytes(&mut self, hook: Hook) -> Result<u32, Error> {
        let info = program(&mut self.object, hook)?
            .info()
            .map_err(program_error(hook))?;
        Ok(info.size_translated().unwrap_or(0))
    }

    /// Whether the programs leave their verdict and end.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.replay
    }
}
