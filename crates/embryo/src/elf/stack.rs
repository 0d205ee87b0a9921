//! What a program finds on its stack: arguments, environment and auxiliary vector, in the order
//! and at the distances that the kernel would choose.

use embryo_plan::limits::{PAGE, STRING_BYTES_MAX, STRINGS_BYTES_MAX, STRINGS_MAX};
use embryo_plan::{BuildError, PlanError, Reason};
use std::ops::Range;

/// What the kernel leaves untouched below what it wrote.
const ROOM: u64 = 128 << 10;
/// The machine's name, which the kernel puts there for the interpreter's search path.
const PLATFORM: &[u8] = concat_platform();

const fn concat_platform() -> &'static [u8] {
    if cfg!(target_arch = "x86_64") { b"x86_64\0" } else { b"aarch64\0" }
}

/// A value of the auxiliary vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aux {
    Number(u64),
    /// The address of sixteen random bytes.
    Random,
    /// The address of the program's name.
    Name,
    /// The address of the machine's name.
    Platform,
}

/// Strings, each without a NUL inside.
#[derive(Debug)]
pub(super) struct Initial<'a> {
    pub(super) argv: Vec<&'a [u8]>,
    pub(super) envp: Vec<Vec<u8>>,
    /// The path it was loaded by.
    pub(super) name: &'a [u8],
    pub(super) aux: Vec<(u64, Aux)>,
    pub(super) random: [u8; 16],
    /// How far the pointers lie below the strings, besides.
    pub(super) shift: u64,
}

/// Memory as it has to be from the stack pointer to the top of the stack.
#[derive(Debug)]
pub(super) struct Contents {
    /// Where it begins: the stack pointer.
    pub(super) pointer: u64,
    pub(super) bytes: Vec<u8>,
    /// Where the arguments' strings lie.
    pub(super) args: Range<u64>,
    /// Where the environment's lie.
    pub(super) env: Range<u64>,
    /// The auxiliary vector, as it stands there.
    pub(super) auxv: Vec<u8>,
}

impl Initial<'_> {
    /// Refuses what the kernel would refuse in execve(2).
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let argv = self.argv.iter().copied();
        let envp = self.envp.iter().map(Vec::as_slice);
        let wrong = |reason| PlanError { entry: None, code: None, reason };
        let mut total = 0usize;
        for (string, what) in argv
            .map(|string| (string, "an argument"))
            .chain(envp.map(|string| (string, "an environment string")))
            .chain([(self.name, "the program's name")])
        {
            if string.contains(&0) {
                return Err(BuildError::Nul(what));
            }
            if string.len() >= STRING_BYTES_MAX {
                return Err(wrong(Reason::StringTooLong).into());
            }
            total = total.saturating_add(string.len() + 1 + size_of::<u64>());
        }
        let most = STRINGS_MAX as usize;
        if total > STRINGS_BYTES_MAX || self.argv.len() > most || self.envp.len() > most {
            return Err(wrong(Reason::StringsTooLong).into());
        }
        Ok(())
    }

    /// Bytes of stack that are mapped at first: the contents and some room, in whole pages.
    pub(super) fn stack_len(&self) -> u64 {
        // How long the contents are does not depend on where they lie, but for the alignment.
        let contents = self.lay_out(1 << 40).bytes.len() as u64;
        (contents + ROOM).next_multiple_of(PAGE)
    }

    /// The contents of a stack that ends at `top`, a page's address.
    pub(super) fn lay_out(&self, top: u64) -> Contents {
        // From the top downwards: a word of zeros, the name, the environment, the arguments.
        let strings: Vec<u8> = self
            .argv
            .iter()
            .copied()
            .chain(self.envp.iter().map(Vec::as_slice))
            .chain([self.name])
            .flat_map(|string| string.iter().copied().chain([0]))
            .chain([0; 8])
            .collect();
        let strings_at = top - strings.len() as u64;
        let name_at = top - 8 - (self.name.len() as u64 + 1);
        // Then, moved by a random distance, the machine's name and the random bytes.
        let platform_at = ((strings_at - self.shift) & !15) - PLATFORM.len() as u64;
        let random_at = platform_at - self.random.len() as u64;

        let mut words = vec![self.argv.len() as u64];
        let mut string_at = strings_at;
        let counted = self.argv.iter().map(|string| string.len());
        for len in counted {
            words.push(string_at);
            string_at += len as u64 + 1;
        }
        words.push(0);
        for string in &self.envp {
            words.push(string_at);
            string_at += string.len() as u64 + 1;
        }
        words.push(0);
        let env = strings_at + self.args_len()..string_at;
        let vector_at = words.len();
        for (kind, value) in &self.aux {
            let value = match *value {
                Aux::Number(number) => number,
                Aux::Random => random_at,
                Aux::Name => name_at,
                Aux::Platform => platform_at,
            };
            words.extend([*kind, value]);
        }
        // AT_NULL.
        words.extend([0, 0]);

        let auxv = words[vector_at..].iter().flat_map(|word| word.to_le_bytes()).collect();
        let pointer = (random_at - words.len() as u64 * 8) & !15;
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.resize((random_at - pointer) as usize, 0);
        bytes.extend(self.random);
        bytes.extend(PLATFORM);
        bytes.resize((strings_at - pointer) as usize, 0);
        bytes.extend(strings);
        Contents { pointer, bytes, args: strings_at..env.start, env, auxv }
    }

    /// Bytes of the arguments with their NULs.
    fn args_len(&self) -> u64 {
        self.argv.iter().map(|string| string.len() as u64 + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initial<'a>() -> Initial<'a> {
        Initial {
            argv: vec![b"prog", b"", b"x"],
            envp: vec![b"A=1".to_vec()],
            name: b"/bin/prog",
            aux: vec![
                (31, Aux::Name),
                (25, Aux::Random),
                (15, Aux::Platform),
                (6, Aux::Number(4096)),
            ],
            random: [7; 16],
            shift: 123,
        }
    }

    #[test]
    fn everything_is_where_the_pointers_say() {
        let top = 0x7fff_0000_0000;
        let Contents { pointer, bytes, args, env, auxv } = initial().lay_out(top);
        assert_eq!((pointer % 16, pointer + bytes.len() as u64), (0, top));
        let word = |index: usize| {
            u64::from_le_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes"))
        };
        let string = |at: u64| {
            let rest = &bytes[(at - pointer) as usize..];
            rest.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        assert_eq!(word(0), 3);
        assert_eq!([1, 2, 3].map(|at| string(word(at))), [&b"prog"[..], b"", b"x"]);
        assert_eq!((word(4), string(word(5)), word(6)), (0, &b"A=1"[..], 0));
        assert_eq!((word(7), string(word(8))), (31, &b"/bin/prog"[..]));
        assert_eq!((word(9), &bytes[(word(10) - pointer) as usize..][..16]), (25, &[7; 16][..]));
        assert_eq!((word(11), string(word(12))), (15, &PLATFORM[..PLATFORM.len() - 1]));
        assert_eq!([13, 14, 15, 16].map(word), [6, 4096, 0, 0]);
        let within = |range: Range<u64>| {
            &bytes[(range.start - pointer) as usize..(range.end - pointer) as usize]
        };
        assert_eq!((within(args), within(env)), (&b"prog\0\0x\0"[..], &b"A=1\0"[..]));
        assert_eq!(auxv, bytes[7 * 8..17 * 8]);
        assert!(bytes.ends_with(b"prog\0\0x\0A=1\0/bin/prog\0\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn its_length_does_not_depend_on_where_it_lies() {
        let initial = initial();
        let lengths: Vec<usize> =
            [1 << 32, 0x7fff_1234_5000].map(|top| initial.lay_out(top).bytes.len()).into();
        assert_eq!(lengths[0], lengths[1]);
        assert!(initial.stack_len() >= lengths[0] as u64 + ROOM);
    }

    #[test]
    fn what_execve_refuses_is_refused() {
        assert_eq!(initial().check(), Ok(()));
        let long = vec![b'x'; STRING_BYTES_MAX];
        let mut one = initial();
        one.argv.push(&long[1..]);
        assert_eq!(one.check(), Ok(()));
        one.argv.push(&long);
        assert!(one.check().is_err());
        let mut many = initial();
        many.argv = vec![&long[1..]; 50];
        assert!(many.check().is_err());
        let mut nul = initial();
        nul.argv.push(b"a\0b");
        assert_eq!(nul.check(), Err(BuildError::Nul("an argument")));
    }
}
