//! The stages of a call.

/// The stages of a call, in the order in which it meets them. Their names are metric labels and span names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its message is read.
    Receive,
    /// Whether it may enter is decided.
    Admit,
    /// An endpoint is chosen.
    Pick,
    /// It waits for a connection.
    Connect,
    /// It is handed to the connection.
    Send,
    /// It waits for a slot.
    Queue,
    /// It is laid out for the engine with its batch.
    Merge,
    /// The engine runs. At a gateway also an attempt that came to nothing, and all of one at a backend that does not say
    /// where its time went.
    Execute,
    /// Its part is cut out of the batch's answer.
    Split,
    /// The answer travels back to its waiter. At a gateway what the backend does not account for of the time between
    /// sending and answer: both ways over the network, and through the HTTP/2 of either side.
    Return,
    /// The answer is put into its protocol's form.
    Encode,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// Every stage in order.
    pub const ALL: [Stage; Stage::COUNT] = [
        Stage::Receive,
        Stage::Admit,
        Stage::Pick,
        Stage::Connect,
        Stage::Send,
        Stage::Queue,
        Stage::Merge,
        Stage::Execute,
        Stage::Split,
        Stage::Return,
        Stage::Encode,
    ];

    /// Its name, such as `receive`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Admit => "admit",
            Stage::Pick => "pick",
            Stage::Connect => "connect",
            Stage::Send => "send",
            Stage::Queue => "queue",
            Stage::Merge => "merge",
            Stage::Execute => "execute",
            Stage::Split => "split",
            Stage::Return => "return",
            Stage::Encode => "encode",
        }
    }
}
