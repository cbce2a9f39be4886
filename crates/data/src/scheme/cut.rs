//! Cuts rows into the parts of the clients.

/// Returns the start of part `k` if `n` items are cut into `parts` parts whose sizes differ by at most 1, larger parts
/// first.
pub(super) fn start_of(k: u32, n: u32, parts: u32) -> usize {
    (k as usize) * ((n / parts) as usize) + k.min(n % parts) as usize
}

/// Returns the sizes of `parts` parts of `n` items, which differ by at most 1, larger parts first.
pub(super) fn even_sizes(n: usize, parts: usize) -> Vec<usize> {
    (0..parts).map(|k| n / parts + usize::from(k < n % parts)).collect()
}

/// Returns the sizes of the parts of `n` items. Part k ends at ⌊n · (share 0 + … + share k)⌋, with the sum added up in
/// this order. Part `last` takes the rest, since rounding may leave the sum below 1; the parts after it are empty.
pub(super) fn sizes_of_shares(shares: &[f64], n: usize, last: usize) -> Vec<usize> {
    let (mut sum, mut start) = (0.0, 0);
    let sizes = shares.iter().enumerate().map(|(k, share)| {
        sum += share;
        let end = if k < last { ((sum * n as f64) as usize).min(n) } else { n };
        end - std::mem::replace(&mut start, end)
    });
    sizes.collect()
}

/// Returns the sizes ⌊n · weight / Σ weights⌋ of the parts of `n` items. The last part takes the rest.
pub(super) fn sizes_of_weights(weights: &[f64], n: usize) -> Vec<usize> {
    let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
    let mut left = n;
    let mut sizes: Vec<usize> = Vec::with_capacity(weights.len());
    for weight in weights {
        let size = ((n as f64 * weight / total) as usize).min(left);
        sizes.push(size);
        left -= size;
    }
    if let Some(last) = sizes.last_mut() {
        *last += left;
    }
    sizes
}

/// Cuts `rows` into consecutive parts of these sizes, each sorted. Rows after the last part are left out.
pub(super) fn cut(rows: &[u32], sizes: &[usize]) -> Vec<Vec<u32>> {
    let mut parts = vec![Vec::new(); sizes.len()];
    share_out(rows, sizes, parts.iter_mut());
    sorted(parts)
}

/// Adds consecutive runs of `rows` to the parts, as many rows to each as its size.
pub(super) fn share_out<'p>(rows: &[u32], sizes: &[usize], parts: impl Iterator<Item = &'p mut Vec<u32>>) {
    let mut rest = rows;
    for (part, size) in parts.zip(sizes) {
        let (mine, after) = rest.split_at(*size);
        part.extend_from_slice(mine);
        rest = after;
    }
}

/// Returns the parts with the rows of each in ascending order.
pub(super) fn sorted(mut parts: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up_whatever_the_rounding() {
        assert_eq!(even_sizes(7, 3), [3, 2, 2]);
        assert_eq!((start_of(1, 7, 3), start_of(3, 7, 3)), (3, 7));
        // The sum of ten tenths is below 1 in f64, and that of eight tenths below 0.8.
        assert_eq!(sizes_of_shares(&[0.1; 10], 30, 9), [3, 3, 3, 3, 3, 3, 3, 2, 3, 4]);
        assert_eq!(sizes_of_shares(&[0.5, 0.49, 0.0], 10, 1), [5, 5, 0]);
        assert_eq!(sizes_of_weights(&[1.0, 2.0, 3.0], 10), [1, 3, 6]);
        assert_eq!(cut(&[4, 1, 3, 0, 2], &[2, 2]), [vec![1, 4], vec![0, 3]]);
    }
}
