//! The state of the rules between rounds: named slots.

use std::{collections::BTreeMap, sync::Arc};

/// A slot's value. It is shared, since a checkpoint holds it during the next round. Two slots are equal if their
/// types and bits are.
#[derive(Debug, Clone)]
pub enum Slot {
    /// A vector of 32-bit floats.
    F32(Arc<Vec<f32>>),
    /// Bytes, whose meaning is their owner's.
    Bytes(Arc<Vec<u8>>),
}

/// Named slots: the state of the server, or of one client. A slot that is absent is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slots(BTreeMap<String, Slot>);

impl Slot {
    /// Returns the bytes of the value, little-endian.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Slot::F32(values) => bytemuck::cast_slice(values),
            Slot::Bytes(bytes) => bytes,
        }
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.bytes() == other.bytes()
    }
}

impl Slots {
    /// Returns `true` if there is no slot.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the vector in the slot `name`; `None` if there is none.
    pub fn vector(&self, name: &str) -> Option<&Arc<Vec<f32>>> {
        match self.0.get(name) {
            Some(Slot::F32(values)) => Some(values),
            _ => None,
        }
    }

    /// Returns the bytes in the slot `name`; empty if there are none.
    pub fn bytes(&self, name: &str) -> &[u8] {
        match self.0.get(name) {
            Some(Slot::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// Replaces a slot. A slot without content is removed.
    pub fn set(&mut self, name: &str, slot: Slot) {
        if slot.bytes().is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), slot);
        }
    }

    /// Replaces a slot by a vector.
    pub fn set_vector(&mut self, name: &str, values: Vec<f32>) {
        self.set(name, Slot::F32(Arc::new(values)));
    }

    /// Returns the slots of these names alone.
    pub fn only(&self, names: &[&str]) -> Self {
        let of_names = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Self(of_names.map(|(name, slot)| (name.clone(), slot.clone())).collect())
    }

    /// Iterates over names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Slot)> {
        self.0.iter().map(|(name, slot)| (name.as_str(), slot))
    }

    /// Returns the number of bytes of all values.
    pub fn bytes_of_all(&self) -> u64 {
        self.0.values().map(|slot| slot.bytes().len() as u64).sum()
    }

    /// Returns `true` if each vector has `weight_count` values.
    pub fn fits(&self, weight_count: usize) -> bool {
        self.0.values().all(|slot| match slot {
            Slot::F32(values) => values.len() == weight_count,
            Slot::Bytes(_) => true,
        })
    }
}

impl<N: Into<String>> FromIterator<(N, Slot)> for Slots {
    fn from_iter<I: IntoIterator<Item = (N, Slot)>>(slots: I) -> Self {
        let mut all = Self::default();
        slots.into_iter().for_each(|(name, slot)| all.set(&name.into(), slot));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_without_content_is_absent_and_each_has_its_type() {
        let mut slots = Slots::default();
        slots.set_vector("m", vec![1.0]);
        slots.set("program", Slot::Bytes(Arc::new(vec![7])));
        assert_eq!((slots.vector("m").unwrap().as_slice(), slots.bytes("program")), (&[1.0][..], &[7][..]));
        assert_eq!((slots.vector("program"), slots.bytes("m")), (None, &[][..]));
        assert_eq!(slots.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["m", "program"]);
        slots.set_vector("m", Vec::new());
        assert_eq!(slots.iter().count(), 1);
    }

    #[test]
    fn equal_slots_have_the_same_bits() {
        let slot = |value: f32| Slot::F32(Arc::new(vec![value]));
        assert!(slot(f32::NAN) == slot(f32::NAN) && slot(0.0) != slot(-0.0));
        assert_ne!(slot(0.0), Slot::Bytes(Arc::new(vec![0; 4])));
    }

    #[test]
    fn vectors_must_have_one_value_for_each_weight() {
        let slots = |n| Slots::from_iter([("m", Slot::F32(Arc::new(vec![0.5; n])))]);
        assert!(slots(2).fits(2) && !slots(1).fits(2) && Slots::default().fits(2));
    }
}
