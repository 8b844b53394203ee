//! A JPEG with damaged data, made whole: the same coefficients as libjpeg reads, coded anew.
//!
//! libjpeg goes on after damage, with a warning: a code that no table has counts as zero after 17 bits, data that
//! ends too early leaves the rest grey, and restart markers out of order are sorted out (`jdhuff.c`,
//! `jdmarker.c`). Pillow takes what comes of it; the decoder here ends at the first of these.
//!
//! ITU-T T.81, "Digital Compression and Coding of Continuous-Tone Still Images", annexes B and F.

/// Picture-wide state of a baseline file.
#[derive(Default)]
struct Tables {
    /// By class (0 is DC) and number.
    codes: [[Option<Codes>; 4]; 2],
    restart: usize,
    frame: Option<Frame>,
}

struct Frame {
    height: usize,
    width: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
}

/// A Huffman table.
#[derive(Clone)]
struct Codes {
    /// For each length from 1: the first code, how many there are, and where their symbols begin.
    lengths: [(i32, i32, usize); 16],
    symbols: Vec<u8>,
}

impl Codes {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let (mut code, mut at) = (0, 0);
        let lengths = counts.map(|count| {
            let (first, start) = (code, at);
            code = (code + i32::from(count)) << 1;
            at += usize::from(count);
            (first, i32::from(count), start)
        });
        Self { lengths, symbols: symbols.to_vec() }
    }
}

/// A file that was read in spite of damage.
pub(crate) struct Mended {
    /// With whole data.
    pub bytes: Vec<u8>,
    /// What was wrong.
    pub damage: String,
    /// Whether libjpeg takes what follows the data.
    pub ends_well: bool,
}

/// The file made whole; none if it isn't a baseline file of one scan, or ends too early for libjpeg too.
pub(crate) fn baseline(bytes: &[u8]) -> Option<Mended> {
    let mut tables = Tables::default();
    let mut head = bytes.get(..2)?.to_vec();
    let mut at = 2;
    let mut extra = 0;
    loop {
        extra += bytes[at..].iter().take_while(|&&byte| byte != 0xff).count();
        let marker = next_marker(bytes, &mut at)?;
        // Those without a segment.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let body = bytes.get(at..at + length)?.get(2..)?;
        at += length;
        match marker {
            0xc4 => tables.add_codes(body)?,
            0xdd => tables.restart = usize::from(u16::from_be_bytes(*body.first_chunk()?)),
            0xc0 | 0xc1 => {
                tables.frame = Some(Frame::new(body)?);
                put_segment(&mut head, marker, body);
            }
            // Progressive, lossless, arithmetic; the end.
            0xc2 | 0xc3 | 0xc5..=0xcf | 0xd9 => return None,
            0xda => {
                let mut scan = Scan::new(&tables, body, &bytes[at..])?;
                let data = scan.code_anew()?;
                head.extend(tables_for_all());
                put_segment(&mut head, marker, &scan.header(body));
                head.extend(data);
                head.extend([0xff, 0xd9]);
                let (damage, ends_well) = (scan.damage(extra), scan.ends_well());
                return Some(Mended { bytes: head, damage, ends_well });
            }
            _ => put_segment(&mut head, marker, body),
        }
    }
}

/// The next marker's number; bytes before it are skipped.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        while *bytes.get(*at)? != 0xff {
            *at += 1;
        }
        while *bytes.get(*at)? == 0xff {
            *at += 1;
        }
        *at += 1;
        if bytes[*at - 1] != 0 {
            return Some(bytes[*at - 1]);
        }
    }
}

fn put_segment(head: &mut Vec<u8>, marker: u8, body: &[u8]) {
    head.extend([0xff, marker]);
    head.extend((body.len() as u16 + 2).to_be_bytes());
    head.extend(body);
}

impl Tables {
    fn add_codes(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let (class, number) = (usize::from(place >> 4), usize::from(place & 15));
            // What libjpeg refuses: sizes of DC coefficients that there aren't.
            if class == 0 && symbols.iter().any(|&size| size > 15) {
                return None;
            }
            *self.codes.get_mut(class)?.get_mut(number)? = Some(Codes::new(counts, symbols));
            body = rest;
        }
        Some(())
    }
}

impl Frame {
    fn new(body: &[u8]) -> Option<Self> {
        let &[8, h0, h1, w0, w1, count, ref rest @ ..] = body else { return None };
        let (parts, _) = rest.as_chunks::<3>();
        let component = |&[id, sampling, _]: &[u8; 3]| Component {
            id,
            across: usize::from(sampling >> 4),
            down: usize::from(sampling & 15),
        };
        let components: Vec<Component> = parts.iter().map(component).collect();
        let fine = |c: &Component| (1..=4).contains(&c.across) && (1..=4).contains(&c.down);
        let whole = components.len() == usize::from(count) && components.iter().all(fine);
        let height = usize::from(u16::from_be_bytes([h0, h1]));
        let width = usize::from(u16::from_be_bytes([w0, w1]));
        (whole && !components.is_empty()).then_some(Self { height, width, components })
    }
}

/// The only scan, as it is read.
struct Scan<'a> {
    /// Of each block of an MCU: its component, and the tables of its coefficients.
    blocks: Vec<(usize, &'a Codes, &'a Codes)>,
    components: usize,
    mcus: usize,
    restart: usize,
    data: &'a [u8],
    at: usize,
    /// Bits of the current byte that are left.
    byte: u8,
    left: u8,
    /// A marker that was come upon.
    marker: Option<u8>,
    /// A bit was asked for that isn't there: what follows is left out.
    short: bool,
    /// What was wrong.
    ended_early: bool,
    bad_codes: usize,
    bad_restarts: usize,
}

impl<'a> Scan<'a> {
    fn new(tables: &'a Tables, body: &[u8], data: &'a [u8]) -> Option<Self> {
        let frame = tables.frame.as_ref()?;
        let (&count, rest) = body.split_first()?;
        let chosen = rest.get(..2 * usize::from(count))?.as_chunks::<2>().0;
        if chosen.len() != frame.components.len() {
            return None;
        }
        let alone = chosen.len() == 1;
        let mut blocks = Vec::new();
        for (number, (component, &[id, choice])) in frame.components.iter().zip(chosen).enumerate()
        {
            if component.id != id {
                return None;
            }
            let table =
                |class: usize, number: u8| tables.codes[class].get(usize::from(number))?.as_ref();
            let codes = (number, table(0, choice >> 4)?, table(1, choice & 15)?);
            let n = if alone { 1 } else { component.across * component.down };
            blocks.extend(std::iter::repeat_n(codes, n));
        }
        let most = |of: fn(&Component) -> usize| {
            8 * if alone { 1 } else { frame.components.iter().map(of).max().unwrap_or(1) }
        };
        let across = frame.width.div_ceil(most(|c| c.across));
        let mcus = across * frame.height.div_ceil(most(|c| c.down));
        Some(Self {
            blocks,
            components: chosen.len(),
            mcus,
            restart: tables.restart,
            data,
            at: 0,
            byte: 0,
            left: 0,
            marker: None,
            short: false,
            ended_early: false,
            bad_codes: 0,
            bad_restarts: 0,
        })
    }

    /// All MCUs with our own tables and without restarts.
    fn code_anew(&mut self) -> Option<Vec<u8>> {
        let mut out = Writer::default();
        let (mut own, mut written) = (vec![0_i32; self.components], vec![0_i16; self.components]);
        let (mut to_go, mut next) = (self.restart, 0);
        let blocks = self.blocks.clone();
        for _ in 0..self.mcus {
            if self.restart > 0 && to_go == 0 {
                self.restart(next)?;
                next = (next + 1) % 8;
                (own, to_go) = (vec![0; self.components], self.restart);
            }
            let short = self.short;
            for &(component, dc_codes, ac_codes) in &blocks {
                let mut dc = 0;
                if !short {
                    let size = self.symbol(dc_codes)?;
                    let bits = self.bits(size)?;
                    own[component] += extended(bits, size);
                    dc = own[component];
                }
                let difference = (dc as i16).wrapping_sub(written[component]);
                written[component] = dc as i16;
                out.difference(difference)?;
                if short {
                    out.symbol(0);
                } else {
                    self.block(ac_codes, &mut out)?;
                }
            }
            to_go = to_go.saturating_sub(1);
        }
        Some(out.finish())
    }

    /// The other coefficients of a block.
    fn block(&mut self, codes: &Codes, out: &mut Writer) -> Option<()> {
        let mut k = 1;
        while k < 64 {
            let symbol = self.symbol(codes)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 && (run != 15 || k + 16 > 63) {
                break;
            }
            if size == 0 {
                out.symbol(0xf0);
                k += 16;
                continue;
            }
            let bits = self.bits(size)?;
            // What lies beyond the last is the last.
            let to = (k + run).min(63);
            out.symbol(((to - k) as u8) << 4 | size);
            out.bits(u32::from(bits), size);
            k = to + 1;
            if k == 64 {
                return Some(());
            }
        }
        out.symbol(0);
        Some(())
    }

    /// The next symbol; 0 for a code that there isn't.
    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        let mut code = 0;
        for (first, count, start) in codes.lengths {
            code = code << 1 | i32::from(self.bit()?);
            if code - first < count {
                let at = usize::try_from(code - first).ok()?;
                return codes.symbols.get(start + at).copied();
            }
        }
        self.bit()?;
        self.bad_codes += 1;
        Some(0)
    }

    fn bits(&mut self, count: u8) -> Option<u16> {
        (0..count).try_fold(0, |bits, _| Some(bits << 1 | u16::from(self.bit()?)))
    }

    /// The next bit; zeros after the end of the data. None where the file ends without a marker.
    fn bit(&mut self) -> Option<u8> {
        if self.left == 0 && self.marker.is_none() {
            self.byte = *self.data.get(self.at)?;
            self.at += 1;
            self.left = 8;
            if self.byte == 0xff {
                while *self.data.get(self.at)? == 0xff {
                    self.at += 1;
                }
                self.at += 1;
                if self.data[self.at - 1] != 0 {
                    self.marker = Some(self.data[self.at - 1]);
                    self.left = 0;
                }
            }
        }
        if self.left == 0 {
            self.short = true;
            self.ended_early = true;
            return Some(0);
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1)
    }

    /// Goes on after the restart marker of this number, or where libjpeg would (`jpeg_resync_to_restart`).
    fn restart(&mut self, wanted: u8) -> Option<()> {
        self.left = 0;
        let mut marker = match self.marker.take() {
            Some(marker) => marker,
            None => next_marker(self.data, &mut self.at)?,
        };
        if marker != 0xd0 + wanted {
            self.bad_restarts += 1;
            loop {
                let distance = marker.wrapping_sub(0xd0).wrapping_sub(wanted) & 7;
                match marker {
                    // The wanted one, or too far from it to be told.
                    0xd0..=0xd7 if matches!(distance, 0 | 3..=5) => break,
                    // One that should have come before; no marker at all.
                    0xd0..=0xd7 if distance > 5 => {}
                    0..0xc0 => {}
                    // One that is to come, or something else: this part is empty.
                    _ => {
                        self.marker = Some(marker);
                        return Some(());
                    }
                }
                marker = next_marker(self.data, &mut self.at)?;
            }
        }
        self.short = false;
        Some(())
    }

    /// Whether what follows is an end, or nothing, after no more than what may be anywhere.
    fn ends_well(&mut self) -> bool {
        let mut marker = self.marker.take().or_else(|| next_marker(self.data, &mut self.at));
        while let Some(number) = marker {
            match number {
                0xd9 => return true,
                0x01 | 0xd0..=0xd7 => {}
                0xdc | 0xe0..=0xef | 0xfe => {
                    let length = self.data.get(self.at..).and_then(<[u8]>::first_chunk);
                    self.at += length.map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
                }
                _ => return false,
            }
            marker = next_marker(self.data, &mut self.at);
        }
        true
    }

    /// The scan's header, with our tables for every component.
    fn header(&self, body: &[u8]) -> Vec<u8> {
        let mut header = body.to_vec();
        (0..self.components).for_each(|i| header[2 + 2 * i] = 0);
        header
    }

    fn damage(&self, extra: usize) -> String {
        let mut found = Vec::new();
        if self.ended_early {
            found.push("its data ends too early".to_owned());
        }
        if self.bad_codes > 0 {
            found.push(format!("its data has {} codes without a meaning", self.bad_codes));
        }
        if self.bad_restarts > 0 {
            found.push(format!("{} of its restart markers are out of order", self.bad_restarts));
        }
        if extra > 0 {
            found.push(format!("it has {extra} bytes too many between its segments"));
        }
        if found.is_empty() { "its data is damaged".to_owned() } else { found.join(", ") }
    }
}

/// A coefficient of so many bits.
fn extended(bits: u16, size: u8) -> i32 {
    let bits = i32::from(bits);
    if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
}

/// Tables number 0, with a code for whatever there may be: 5 bits for each size of a DC coefficient, and 8 or 9 for
/// any symbol of the others.
fn tables_for_all() -> Vec<u8> {
    let mut counts = [0; 16];
    counts[4] = 16;
    let dc: Vec<u8> = [0].into_iter().chain(counts).chain(0..16).collect();
    let mut counts = [0; 16];
    (counts[7], counts[8]) = (128, 128);
    let ac: Vec<u8> = [0x10].into_iter().chain(counts).chain(0..=255).collect();
    let mut tables = Vec::new();
    put_segment(&mut tables, 0xc4, &[dc, ac].concat());
    tables
}

/// Data with these tables.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    bits: u64,
    count: u8,
}

impl Writer {
    fn bits(&mut self, bits: u32, count: u8) {
        self.bits = self.bits << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            0..128 => self.bits(u32::from(symbol), 8),
            _ => self.bits(256 + u32::from(symbol - 128), 9),
        }
    }

    /// What a DC coefficient adds to the one before; none if that is too much.
    fn difference(&mut self, difference: i16) -> Option<()> {
        let size = (16 - difference.unsigned_abs().leading_zeros()) as u8;
        if size > 15 {
            return None;
        }
        self.bits(u32::from(size), 5);
        let below = if difference < 0 { difference - 1 } else { difference };
        self.bits(u32::from(below as u16) & ((1 << size) - 1), size);
        Some(())
    }

    fn finish(mut self) -> Vec<u8> {
        let padding = (8 - self.count) % 8;
        self.bits((1 << padding) - 1, padding);
        self.out
    }
}
