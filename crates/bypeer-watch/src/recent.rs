use std::collections::HashMap;
use std::hash::Hash;

/// Values used lately: bounded in number and in weight, the longest unused goes first.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    values: HashMap<K, Kept<V>>,
    most: usize,
    heaviest: usize,
    weight: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Keeps at most `most` values that weigh `heaviest` together; one alone may weigh more.
    pub(crate) fn new(most: usize, heaviest: usize) -> Recent<K, V> {
        Recent {
            values: HashMap::new(),
            most,
            heaviest,
            weight: 0,
            clock: 0,
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let kept = self.values.get_mut(key)?;
        kept.used = self.clock;
        Some(&mut kept.value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        while !self.values.is_empty() && (self.values.len() >= self.most || self.weight + weight > self.heaviest) {
            // A walk through all, for each that goes: there are few, and they seldom go.
            let oldest = self.values.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.weight += weight;
        let used = self.clock;
        self.values.insert(key, Kept { value, weight, used });
    }

    fn remove(&mut self, key: &K) {
        if let Some(kept) = self.values.remove(key) {
            self.weight -= kept.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut recent = Recent::new(3, 100);
        for key in ["a", "b", "c"] {
            recent.insert(key, key, 10);
        }
        recent.get(&"a");
        recent.insert("d", "d", 10);
        assert_eq!(recent.get(&"a"), Some(&mut "a"));
        assert_eq!(recent.get(&"b"), None);
        assert_eq!(recent.weight, 30);
        recent.insert("e", "e", 90);
        assert_eq!((recent.values.len(), recent.weight), (2, 100));
        assert_eq!(recent.get(&"a"), Some(&mut "a"));
        recent.insert("too heavy", "f", 1000);
        assert_eq!((recent.values.len(), recent.weight), (1, 1000));
        recent.insert("a", "again", 1);
        recent.insert("a", "again", 2);
        assert_eq!((recent.values.len(), recent.weight), (1, 2));
    }
}
