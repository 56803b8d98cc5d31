use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A machine as plain data.
pub(crate) fn store(machine: &impl Serialize) -> Value {
    serde_json::to_value(machine).expect("a machine is plain data")
}

/// The machine that comes out of a snapshot of `machine`, which must have lost nothing.
pub(crate) fn restored<T: Serialize + DeserializeOwned>(machine: &T) -> T {
    let stored = store(machine);
    let restored = serde_json::from_value(stored.clone()).expect("a snapshot restores");
    assert_eq!(store(&restored), stored, "a snapshot loses nothing");
    restored
}
