//! Typed access to the maps. The only `unsafe` of this crate is [`Wire`].

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, SockMap},
};
use sluice_abi::map::MapSpec;
use zerocopy::{FromBytes, IntoBytes};

use crate::{Error, PinDir};

/// A type of the wire between kernel and daemon, as a key or a value of a map.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub(crate) struct Wire<T>(pub(crate) T);

#[expect(
    unsafe_code,
    reason = "the one door between zerocopy's proof and aya's marker"
)]
// SAFETY: `Pod` asks for a type that may be read as bytes and made from any bytes. `T: IntoBytes`
// is zerocopy's proof that `T` has no padding and no interior pointer, `T: FromBytes` that every
// byte pattern is a valid `T`; `Wire<T>` has the layout of `T` because it is `repr(transparent)`.
unsafe impl<T: Copy + FromBytes + IntoBytes + 'static> Pod for Wire<T> {}

/// Where maps come from: a directory of pins, or an object that keeps its maps to itself.
pub(crate) trait MapSource: Copy {
    /// Opens a map.
    fn open_map(self, spec: MapSpec) -> Result<Map, Error>;
}

impl MapSource for &PinDir {
    fn open_map(self, spec: MapSpec) -> Result<Map, Error> {
        self.open(spec)
    }
}

impl MapSource for &Ebpf {
    fn open_map(self, spec: MapSpec) -> Result<Map, Error> {
        let map = self.map(spec.name).ok_or(Error::Missing(spec.name))?;
        let (Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::SockMap(data)) = map
        else {
            return Err(Error::Missing(spec.name));
        };
        data.info()
            .and_then(|info| MapData::from_id(info.id()))
            .and_then(Map::from_map_data)
            .map_err(Error::map(spec.name))
    }
}

fn typed<M: TryFrom<Map, Error = MapError>>(map: Map, spec: MapSpec) -> Result<M, Error> {
    M::try_from(map).map_err(Error::map(spec.name))
}

pub(crate) fn array<V: Pod>(map: Map, spec: MapSpec) -> Result<Array<MapData, V>, Error> {
    typed(map, spec)
}

pub(crate) fn per_cpu<V: Pod>(map: Map, spec: MapSpec) -> Result<PerCpuArray<MapData, V>, Error> {
    typed(map, spec)
}

pub(crate) fn hash<K: Pod, V: Pod>(
    map: Map,
    spec: MapSpec,
) -> Result<HashMap<MapData, K, V>, Error> {
    typed(map, spec)
}

pub(crate) fn trie<K: Pod, V: Pod>(
    map: Map,
    spec: MapSpec,
) -> Result<LpmTrie<MapData, K, V>, Error> {
    typed(map, spec)
}

pub(crate) fn sock_map(map: Map, spec: MapSpec) -> Result<SockMap<MapData>, Error> {
    typed(map, spec)
}
