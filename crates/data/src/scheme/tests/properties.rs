//! Properties of the schemes over random sizes and seeds.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn iid_deals_every_row_once_in_sizes_that_differ_by_one(n in 1_u32..400, clients in 1_u32..40, seed: u64) {
        prop_assume!(clients <= n);
        let parts = partition(&iid(), &labels(n, 3), 3, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        let sizes = sizes(&parts);
        prop_assert_eq!(sizes.len(), clients as usize);
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }

    #[test]
    fn dirichlet_deals_every_row_once_and_the_least_size_to_all(
        n in 100_u32..400, clients in 1_u32..8, seed: u64, alpha in 0.2_f64..20.0, balance: bool, min_size in 1_u32..5,
    ) {
        let scheme = full_dirichlet(alpha, min_size, balance);
        let parts = partition(&scheme, &labels(n, 5), 5, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        prop_assert_eq!(parts.len(), clients as usize);
        prop_assert!(sizes(&parts).iter().all(|size| *size >= min_size as usize));
    }

    #[test]
    fn shards_deal_every_row_once_and_few_classes(n in 60_u32..400, clients in 1_u32..12, per_client in 1_u32..5, seed: u64) {
        let labels = labels(n, 4);
        let parts = partition(&shards(per_client), &labels, 4, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        prop_assert_eq!(parts.len(), clients as usize);
        let sizes = sizes(&parts);
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= per_client as usize);
    }

    #[test]
    fn every_other_scheme_deals_every_row_once(
        n in 300_u32..500, clients in 5_u32..9, seed: u64, k in 1_u32..5, share in 0.0_f64..1.0,
    ) {
        let texts = [
            format!("labels:{k}"),
            format!("exdir:k={},alpha=10,min-size=1", k.max(2)),
            format!("gamma-similarity:{share}"),
            format!("dirichlet-client:{}", share + 0.01),
            "quantity:alpha=2,min-size=1".to_owned(),
            format!("log-normal:{}", share / 2.0),
            format!("continuous:{share}"),
            "linear".to_owned(),
            "square".to_owned(),
        ];
        let labels = labels(n, 5);
        for text in texts {
            let parts = partition(&text.parse().unwrap(), &labels, 5, clients, seed).unwrap();
            prop_assert_eq!(parts.len(), clients as usize);
            // The clients are so many that each label has a holder under `labels`.
            assert_every_row_once(&parts, n);
        }
    }

    #[test]
    fn a_client_has_at_most_k_labels(n in 200_u32..400, clients in 2_u32..30, seed: u64, k in 1_u32..5) {
        let labels = labels(n, 5);
        for text in [format!("labels:{k}"), format!("pat:{k}"), format!("pat:k={k},balance=true")] {
            let parts = partition(&text.parse().unwrap(), &labels, 5, clients, seed).unwrap();
            let mut dealt = parts.concat();
            dealt.sort_unstable();
            prop_assert!(dealt.windows(2).all(|pair| pair[0] < pair[1]), "{}: a row is dealt twice", text);
            for part in &parts {
                prop_assert!(part.is_sorted() && !part.is_empty());
                let held = counts(part, &labels, 5).into_iter().filter(|count| *count > 0).count();
                prop_assert!(held <= k as usize, "{}: {} labels", text, held);
            }
        }
    }

    #[test]
    fn the_same_seed_deals_the_same_and_another_does_not(seed: u64) {
        let labels = labels(300, 5);
        let others = ["labels:2", "pat:2", "exdir:k=4,alpha=5", "gamma-similarity:0.5", "dirichlet-client:1",
            "quantity:2", "log-normal:0.5", "linear", "square", "exponential", "continuous:0.5"];
        for scheme in others.map(|text| text.parse().unwrap()).into_iter().chain([iid(), dirichlet(1.0), shards(2)]) {
            let deal = |seed| partition(&scheme, &labels, 5, 6, seed).unwrap();
            prop_assert_eq!(deal(seed), deal(seed));
            prop_assert_ne!(deal(seed), deal(seed.wrapping_add(1)), "{}", scheme);
        }
    }

    #[test]
    fn a_scheme_is_read_as_it_is_written(alpha in 1e-9_f64..1e9, min_size in 1_u32.., balance: bool, per_client in 1_u32..) {
        for scheme in [iid(), full_dirichlet(alpha, min_size, balance), shards(per_client)] {
            prop_assert_eq!(scheme.to_string().parse::<Scheme>().unwrap(), scheme);
        }
    }
}
