//! The search for retrieval metrics: ranks of a query's own class, by counting.
//!
//! All of Recall@K, precision@1, R-precision and MAP@R follow from one thing: how many samples of
//! other classes are nearer than a query's first, second … partner (a sample of its class). So no
//! list of the K nearest is made, and K = 1000 costs what K = 1 does. First, each query's products
//! with its partners; then all products, tile by tile, each compared with two numbers for its
//! query: surely nearer than every partner (counted at once), or maybe nearer than the farthest
//! partner that still matters (looked at again, exactly if need be). A partner stops to matter when
//! its rank is past both R and the largest K (of others than the first: past R, unless whole lists are wanted). Where queries are the gallery, a tile serves its rows
//! and its columns, so half the products do.

use super::product::{Product, Tile};
use super::rows::{Frame, Pair, Rows, pieces};
use super::{Embeddings, Exclude, MetricError, Retrieval, Search};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A sample of a query's class.
struct Partner {
    /// Greatest scaled squared distance that it can have.
    upper: f64,
    index: u32,
    /// Others seen so far that have exactly so many partners before them as this has in the list.
    others: u32,
}

/// A query, and what has been seen of its neighbours.
struct Query {
    index: usize,
    class: i64,
    excluded: Option<usize>,
    /// In order of `upper`.
    partners: Vec<Partner>,
    /// Least scaled squared distance that a partner can have.
    nearest: f64,
    /// Twice the largest error of a partner's distance.
    spread: f64,
    /// Partners that matter still.
    useful: usize,
    /// Others seen so far before the last useful partner.
    before: usize,
    /// Other samples of the class: R.
    relevant: usize,
    /// Largest rank of interest, of the first partner.
    deepest: usize,
    /// Likewise, of any other.
    deep: usize,
}

impl Query {
    /// Bytes beside those of the partners, with what the allocator takes.
    const BYTES: usize = size_of::<Self>() + 16;

    fn count(&mut self, partners_before: usize, others: u32) {
        if others > 0 && partners_before < self.useful {
            self.partners[partners_before].others += others;
            self.before += others as usize;
        }
    }

    /// Forgets partners whose rank is known to be past all interest.
    fn shrink(&mut self) {
        while self.useful > 0 {
            let limit = if self.useful == 1 { self.deepest } else { self.deep };
            if self.useful + self.before <= limit {
                break;
            }
            self.useful -= 1;
            self.before -= self.partners[self.useful].others as usize;
        }
    }

    /// Partners that come before a sample with these bounds.
    fn partners_before(&self, sample: usize, (low, high): (f64, f64), pair: &Pair) -> usize {
        let mut before = self.partners.partition_point(|p| p.upper < low);
        let mut distance = None;
        for partner in &self.partners[before..] {
            let index = partner.index as usize;
            if partner.upper - self.spread > high {
                break;
            }
            let norms = pair.queries.norms[self.index] + pair.gallery.norms[index];
            if partner.upper - 2.0 * pair.frame.error(norms) <= high {
                let own = pair.exact(self.index, index);
                let other = *distance.get_or_insert_with(|| pair.exact(self.index, sample));
                let order = own.total_cmp(&other).then(index.cmp(&sample));
                before += usize::from(order.is_lt());
            }
        }
        before
    }

    /// Ranks of the partners that matter, from 1.
    fn ranks(&self) -> impl Iterator<Item = usize> {
        self.partners[..self.useful].iter().enumerate().scan(0, |others, (i, partner)| {
            *others += partner.others as usize;
            Some(i + 1 + *others)
        })
    }
}

/// Neighbouring queries, with the numbers that a tile's products are compared with.
struct Block {
    queries: Vec<Query>,
    sure: Vec<f32>,
    maybe: Vec<f32>,
}

impl Block {
    fn new(queries: Vec<Query>, pair: &Pair) -> Self {
        let zeros = vec![0.0; queries.len()];
        let mut block = Block { queries, sure: zeros.clone(), maybe: zeros };
        (0..block.queries.len()).for_each(|at| block.limit(at, pair));
        block
    }

    fn limit(&mut self, at: usize, pair: &Pair) {
        let query = &self.queries[at];
        let norm = pair.queries.norms[query.index];
        (self.sure[at], self.maybe[at]) = match query.useful.checked_sub(1) {
            None => (f32::INFINITY, f32::INFINITY),
            Some(last) => (
                pair.frame.sure(norm, query.nearest),
                pair.frame.maybe(norm, query.partners[last].upper),
            ),
        };
    }

    /// Takes in a tile whose rows are these queries.
    fn rows(&mut self, dots: &[f32], gallery: &Range<usize>, pair: &Pair) {
        let (far, near) = (&pair.gallery.far[gallery.clone()], &pair.gallery.near[gallery.clone()]);
        for (at, dots) in dots.chunks_exact(gallery.len()).enumerate() {
            let (a, b) = (self.sure[at], self.maybe[at]);
            let (mut sure, mut maybe) = (0u32, 0u32);
            for ((&dot, &far), &near) in dots.iter().zip(far).zip(near) {
                sure += u32::from(dot > far + a);
                maybe += u32::from(dot >= near + b);
            }
            if maybe > 0 {
                self.take(at, (sure, maybe), gallery, dots.iter().copied(), pair);
            }
        }
    }

    /// Takes in a tile whose columns are these queries.
    fn columns(&mut self, dots: &[f32], gallery: &Range<usize>, pair: &Pair) {
        let width = self.queries.len();
        let (mut sure, mut maybe) = (vec![0u32; width], vec![0u32; width]);
        for (row, sample) in dots.chunks_exact(width).zip(gallery.clone()) {
            let (far, near) = (pair.gallery.far[sample], pair.gallery.near[sample]);
            for ((n, &dot), &a) in sure.iter_mut().zip(row).zip(&self.sure) {
                *n += u32::from(dot > far + a);
            }
            for ((n, &dot), &b) in maybe.iter_mut().zip(row).zip(&self.maybe) {
                *n += u32::from(dot >= near + b);
            }
        }
        for at in (0..width).filter(|&at| maybe[at] > 0) {
            let column = dots[at..].iter().step_by(width).copied();
            self.take(at, (sure[at], maybe[at]), gallery, column, pair);
        }
    }

    /// Takes in a query's products with a part of the gallery, of which so many are surely nearer
    /// than all partners, and so many may be nearer than the last useful one.
    fn take(
        &mut self,
        at: usize,
        (mut sure, mut maybe): (u32, u32),
        gallery: &Range<usize>,
        mut dots: impl Iterator<Item = f32> + Clone,
        pair: &Pair,
    ) {
        let (a, b) = (self.sure[at], self.maybe[at]);
        let query = &mut self.queries[at];
        let is_sure = |sample: usize, dot: f32| dot > pair.gallery.far[sample] + a;
        let is_maybe = |sample: usize, dot: f32| dot >= pair.gallery.near[sample] + b;
        if let Some(sample) = query.excluded.filter(|sample| gallery.contains(sample)) {
            let dot = dots.clone().nth(sample - gallery.start).unwrap_or(f32::NEG_INFINITY);
            sure -= u32::from(is_sure(sample, dot));
            maybe -= u32::from(is_maybe(sample, dot));
        }
        query.count(0, sure);
        if maybe > sure {
            for sample in gallery.clone() {
                let Some(dot) = dots.next() else { break };
                if !is_maybe(sample, dot)
                    || is_sure(sample, dot)
                    || pair.gallery.data.labels[sample] == query.class
                    || query.excluded == Some(sample)
                {
                    continue;
                }
                let bounds = pair.bounds(query.index, sample, dot);
                query.count(query.partners_before(sample, bounds, pair), 1);
            }
        }
        let useful = query.useful;
        query.shrink();
        if query.useful < useful {
            self.limit(at, pair);
        }
    }
}

impl Search {
    /// Looks for the neighbours of every sample among the others; `ks` are the K of Recall@K.
    pub fn retrieval(&self, data: &Embeddings, ks: &[usize]) -> Result<Retrieval, MetricError> {
        let data = &*data.prepared(self.distance)?;
        let excluded = match self.exclude {
            Exclude::Query => (0..data.len()).collect(),
            Exclude::FirstNeighbour => first_alike(data),
        };
        self.ranks(data, data, Some(&excluded), ks)
    }

    /// Looks for the neighbours of queries in a gallery of other samples.
    pub fn retrieval_in(
        &self,
        queries: &Embeddings,
        gallery: &Embeddings,
        ks: &[usize],
    ) -> Result<Retrieval, MetricError> {
        let (queries, gallery) =
            (queries.prepared(self.distance)?, gallery.prepared(self.distance)?);
        if queries.dim != gallery.dim {
            let (queries, gallery) = (queries.dim, gallery.dim);
            return Err(MetricError::Dimensions { queries, gallery });
        }
        self.ranks(&queries, &gallery, None, ks)
    }

    fn ranks(
        &self,
        queries: &Embeddings,
        gallery: &Embeddings,
        excluded: Option<&[usize]>,
        ks: &[usize],
    ) -> Result<Retrieval, MetricError> {
        let others = gallery.len() - usize::from(excluded.is_some());
        if let Some(&k) = ks.iter().find(|&&k| k == 0 || k > others) {
            return Err(MetricError::TooFew { k, others });
        }
        let mut members: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (sample, &class) in gallery.labels.iter().enumerate() {
            members.entry(class).or_default().push(sample as u32);
        }
        let frame = Frame::new(gallery, queries);
        let of_gallery = Rows::new(gallery, &frame);
        let of_queries = excluded.is_none().then(|| Rows::new(queries, &frame));
        let pair = Pair {
            frame: &frame,
            queries: of_queries.as_ref().unwrap_or(&of_gallery),
            gallery: &of_gallery,
        };

        // A quarter of the memory for tiles, the rest for what is known of the queries.
        let device = self.device.as_ref();
        let product = Product::new(&frame, gallery.dim, device, self.threads, self.memory / 4);
        let bytes = |query: usize| {
            let partners = members.get(&queries.labels[query]).map_or(0, Vec::len);
            Query::BYTES + partners * size_of::<Partner>()
        };
        let rows = gallery.len() + of_queries.as_ref().map_or(0, |_| queries.len());
        let norms = Rows::BYTES * rows;
        let largest = (0..queries.len()).map(bytes).max().unwrap_or(0);
        let needed = (Product::least(gallery.dim, product.threads) * 4)
            .max((norms + largest).div_ceil(3) * 4);
        if needed > self.memory {
            return Err(MetricError::Memory { asked: self.memory, needed });
        }
        let mut found = Retrieval::new(
            &queries.labels,
            &gallery.labels,
            excluded.is_some(),
            if self.lists { ks } else { &[] },
        );
        let deepest = ks.iter().max().copied().unwrap_or(0);
        let deep = if self.lists { deepest } else { 0 };
        let mut start = 0;
        while start < queries.len() {
            let mut held = norms + self.memory / 4;
            let fits = |&query: &usize| {
                held += bytes(query);
                held <= self.memory
            };
            let end = start + (start..queries.len()).take_while(fits).count();
            let plan =
                Plan { pair: &pair, product: &product, members: &members, excluded, deepest, deep };
            for block in plan.panel(start..end, &found) {
                block.queries.iter().for_each(|q| found.add(q.index, q.ranks(), q.relevant));
            }
            start = end;
        }
        found.device_refused = product.is_refused();
        Ok(found)
    }
}

/// For each row, the first that is equal to it, be it itself: what a stable sort puts first.
fn first_alike(data: &Embeddings) -> Vec<usize> {
    let mut seen: HashMap<Vec<u32>, usize> = HashMap::new();
    let key = |row: &[f32]| row.iter().map(|x| (x + 0.0).to_bits()).collect(); // no minus zero
    (0..data.len()).map(|i| *seen.entry(key(data.row(i))).or_insert(i)).collect()
}

/// All that the search of one panel needs.
struct Plan<'a> {
    pair: &'a Pair<'a>,
    product: &'a Product<'a>,
    members: &'a BTreeMap<i64, Vec<u32>>,
    excluded: Option<&'a [usize]>,
    deepest: usize,
    deep: usize,
}

impl Plan<'_> {
    /// Searches for as many queries as the memory holds.
    fn panel(&self, panel: Range<usize>, found: &Retrieval) -> Vec<Block> {
        let side = self.product.side;
        let mut queries = self.partners(panel.clone(), found).into_iter();
        let blocks: Vec<Mutex<Block>> = pieces(panel.clone(), side)
            .map(|piece| queries.by_ref().take(piece.len()).collect())
            .map(|queries| Mutex::new(Block::new(queries, self.pair)))
            .collect();
        let lock = |block: usize| blocks[block].lock().unwrap_or_else(PoisonError::into_inner);

        // A block of queries, a part of the gallery, and the block which that part is, if any.
        let mut tasks: Vec<(usize, Range<usize>, Option<usize>)> = Vec::new();
        let mine = if self.excluded.is_some() { panel.clone() } else { 0..0 };
        let n = self.pair.gallery.norms.len();
        for block in 0..blocks.len() {
            let own = pieces(mine.clone(), side).enumerate().skip(block);
            tasks.extend(own.map(|(other, part)| (block, part, Some(other))));
            let rest = pieces(0..mine.start, side).chain(pieces(mine.end..n, side));
            tasks.extend(rest.map(|part| (block, part, None)));
        }
        self.work(tasks.len(), |task, tile| {
            let (block, part, other) = &tasks[task];
            let first = panel.start + block * side;
            let rows = first..panel.end.min(first + side);
            let (queries, gallery) = (self.pair.queries, self.pair.gallery);
            self.product.blocks(tile, (queries, rows.clone()), (gallery, part.clone()));
            lock(*block).rows(&tile.dots, part, self.pair);
            if let Some(other) = other.filter(|other| other != block) {
                lock(other).columns(&tile.dots, &rows, self.pair);
            }
        });
        blocks.into_iter().map(|b| b.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// The panel's queries, with bounds of the distances to their partners.
    fn partners(&self, panel: Range<usize>, found: &Retrieval) -> Vec<Query> {
        let (pair, side) = (self.pair, self.product.side);
        let mut by_class: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for query in panel.clone() {
            by_class.entry(pair.queries.data.labels[query]).or_default().push(query as u32);
        }
        let tasks: Vec<(i64, &[u32])> = by_class
            .iter()
            .flat_map(|(class, queries)| queries.chunks(side).map(|some| (*class, some)))
            .collect();
        let done: Mutex<Vec<Option<Query>>> = Mutex::new(panel.clone().map(|_| None).collect());
        self.work(tasks.len(), |task, tile| {
            let (class, queries) = tasks[task];
            let members = self.members.get(&class).map_or(&[][..], Vec::as_slice);
            let excluded = |query: u32| self.excluded.map(|e| e[query as usize]);
            let mut partners: Vec<Vec<Partner>> =
                queries.iter().map(|_| Vec::with_capacity(members.len())).collect();
            for some in members.chunks(side) {
                self.product.lists(tile, (pair.queries, queries), (pair.gallery, some));
                let dots = tile.dots.chunks_exact(some.len());
                for ((&query, dots), partners) in queries.iter().zip(dots).zip(&mut partners) {
                    let others = some
                        .iter()
                        .zip(dots)
                        .filter(|(i, _)| excluded(query) != Some(**i as usize));
                    partners.extend(others.map(|(&index, &dot)| {
                        let (_, upper) = pair.bounds(query as usize, index as usize, dot);
                        Partner { upper, index, others: 0 }
                    }));
                }
            }
            let queries = queries.iter().zip(partners).map(|(&query, partners)| {
                self.query(query as usize, excluded(query), partners, found)
            });
            let queries: Vec<Query> = queries.collect();
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            for query in queries {
                let place = query.index - panel.start;
                done[place] = Some(query);
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().flatten().collect()
    }

    fn query(
        &self,
        index: usize,
        excluded: Option<usize>,
        mut partners: Vec<Partner>,
        found: &Retrieval,
    ) -> Query {
        let pair = self.pair;
        partners.sort_by(|a, b| a.upper.total_cmp(&b.upper).then(a.index.cmp(&b.index)));
        let twice = |p: &Partner| {
            2.0 * pair.frame.error(pair.queries.norms[index] + pair.gallery.norms[p.index as usize])
        };
        let relevant = found.relevant(index);
        let deep = self.deep.max(relevant);
        let mut query = Query {
            index,
            class: pair.queries.data.labels[index],
            excluded,
            nearest: partners.iter().map(|p| p.upper - twice(p)).fold(f64::INFINITY, f64::min),
            spread: partners.iter().map(twice).fold(0.0, f64::max),
            useful: partners.len().min(deep.max(1)),
            before: 0,
            relevant,
            deepest: self.deepest.max(relevant),
            deep,
            partners,
        };
        query.shrink();
        query
    }

    /// Runs tasks on all threads, each with a tile of its own.
    fn work(&self, tasks: usize, task: impl Fn(usize, &mut Tile) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.product.threads.min(tasks) {
                scope.spawn(|| {
                    let mut tile = Tile::default();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= tasks {
                            break;
                        }
                        task(at, &mut tile);
                    }
                });
            }
        });
    }
}
