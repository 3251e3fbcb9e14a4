//! A display with one screen, 2D only (virtio 1.2, 5.7).
//!
//! The guest draws into its own memory, has parts of it copied to host-side
//! images ("transfer"), chooses the image that the screen shows ("set
//! scanout"), and says when to look at it ("flush"). [`Gpu::screen`] is what a
//! window shows.
//!
//! A saved state holds no pixels, since a frame can be read again from the guest
//! memory behind it. Loading shows the image on the screen at once; the host's
//! copy of any image is made when it is next used. A guest that had drawn but not yet
//! transferred shows that drawing early, and an image whose backing was detached
//! is black: the next frame mends both.

mod edid;
mod protocol;
mod resource;
mod screen;

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{LoadError, QueueFault, Queues, VirtioDevice, queue::Chain, read_config_bytes};
use protocol::{Fields, Header, Refusal, command, response};
use resource::{Backing, Resources};

pub use edid::MAX_ACTIVE as MAX_DISPLAY_SIDE;
pub use protocol::Rect;
pub use resource::{BackingEntry, Format, ResourceState};
pub use screen::{CURSOR_SIZE, Cursor, Screen};

/// VIRTIO_GPU_F_EDID (virtio 1.2, 5.7.3).
const F_EDID: u64 = 1 << 1;
/// VIRTIO_GPU_EVENT_DISPLAY (5.7.4).
const EVENT_DISPLAY: u32 = 1;
/// Offset of events_clear, and length of the configuration (5.7.4).
const CONFIG_EVENTS_CLEAR: u64 = 4;
const CONFIG_LEN: usize = 16;

/// The control queue; the other one is the cursor queue (5.7.2).
const CONTROL: usize = 0;

/// Least width and height of the display.
pub const MIN_DISPLAY_SIDE: u32 = 16;

/// The display.
pub struct Gpu {
    width: u32,
    height: u32,
    /// Pending events, until the driver clears them (5.7.4).
    events: u32,
    resources: Resources,
    /// What the screen shows of which resource.
    scanout: Option<Scanout>,
    cursor: Cursor,
    screen: Screen,
    config_changed: bool,
}

/// What the screen shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scanout {
    /// Number of the resource.
    pub resource: u32,
    /// The part of it.
    pub rect: Rect,
}

/// What the display remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuState {
    /// Width that the display offers.
    pub width: u32,
    /// Height that the display offers.
    pub height: u32,
    /// Pending events.
    pub events: u32,
    /// The resources, by rising number.
    pub resources: Vec<ResourceState>,
    /// What the screen shows, if the guest drives it.
    pub scanout: Option<Scanout>,
    /// The mouse cursor.
    pub cursor: Cursor,
}

/// A request that was carried out.
enum Done {
    Nothing,
    DisplayInfo,
    Edid,
}

impl Gpu {
    /// A display that offers `width` by `height`, each brought into the range
    /// of [`MIN_DISPLAY_SIDE`] to [`MAX_DISPLAY_SIDE`].
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (clamp_side(width), clamp_side(height));
        Gpu {
            width,
            height,
            events: 0,
            resources: Resources::default(),
            scanout: None,
            cursor: Cursor::default(),
            screen: Screen::default(),
            config_changed: false,
        }
    }

    /// What the guest shows. Empty (0 by 0) until it shows anything.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// The guest's mouse cursor.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The size that the display offers to the guest.
    pub fn display_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Offers another size to the guest, which may follow or not. It is brought
    /// into the display's range.
    pub fn set_display_size(&mut self, width: u32, height: u32) {
        let size = (clamp_side(width), clamp_side(height));
        if size != (self.width, self.height) {
            (self.width, self.height) = size;
            self.events |= EVENT_DISPLAY;
            self.config_changed = true;
        }
    }

    /// Answers the request in `chain`.
    fn serve(&mut self, queue: usize, chain: &mut Chain<'_>, memory: &GuestMemory) {
        let header = Header::read(chain);
        let result = match &header {
            Some(header) if queue == CONTROL => self.control(header.kind, chain, memory),
            Some(header) => self.move_or_update_cursor(header.kind, chain, memory).map(|()| Done::Nothing),
            None => Err(Refusal::Unspecified),
        };
        let header = header.unwrap_or_default();
        let bytes = match result {
            Ok(Done::Nothing) => header.response(response::OK_NODATA),
            Ok(Done::DisplayInfo) => {
                let mut bytes = header.response(response::OK_DISPLAY_INFO);
                protocol::append_display_info(&mut bytes, self.width, self.height);
                bytes
            }
            Ok(Done::Edid) => {
                let mut bytes = header.response(response::OK_EDID);
                protocol::append_edid(&mut bytes, &edid::edid(self.width, self.height));
                bytes
            }
            Err(refusal) => header.response(refusal as u32),
        };
        chain.write(&bytes);
    }

    fn control(&mut self, kind: u32, chain: &mut Chain<'_>, memory: &GuestMemory) -> Result<Done, Refusal> {
        match kind {
            command::GET_DISPLAY_INFO => return Ok(Done::DisplayInfo),
            command::GET_EDID => {
                let [scanout, _padding] = words(chain)?;
                only_scanout(scanout)?;
                return Ok(Done::Edid);
            }
            command::RESOURCE_CREATE_2D => {
                let [id, format, width, height] = words(chain)?;
                let format = Format::from_number(format).ok_or(Refusal::InvalidParameter)?;
                self.resources.create(id, format, width, height)?;
            }
            command::RESOURCE_UNREF => {
                let [id, _padding] = words(chain)?;
                self.resources.remove(id)?;
                if self.scanout.is_some_and(|scanout| scanout.resource == id) {
                    self.disable_scanout();
                }
            }
            command::SET_SCANOUT => self.set_scanout(chain, memory)?,
            command::RESOURCE_FLUSH => self.flush(chain, memory)?,
            command::TRANSFER_TO_HOST_2D => {
                let body = body::<32>(chain)?;
                let mut fields = Fields(&body);
                let (rect, offset, id) = (fields.rect(), fields.u64(), fields.u32());
                self.resources.get_mut(id)?.transfer(&rect, offset, memory)?;
            }
            command::RESOURCE_ATTACH_BACKING => self.attach_backing(chain, memory)?,
            command::RESOURCE_DETACH_BACKING => {
                let [id, _padding] = words(chain)?;
                self.resources.detach(id, memory)?;
            }
            _ => return Err(Refusal::Unspecified),
        }
        Ok(Done::Nothing)
    }

    fn set_scanout(&mut self, chain: &mut Chain<'_>, memory: &GuestMemory) -> Result<(), Refusal> {
        let body = body::<24>(chain)?;
        let mut fields = Fields(&body);
        let (rect, scanout, id) = (fields.rect(), fields.u32(), fields.u32());
        only_scanout(scanout)?;
        if id == 0 {
            self.disable_scanout();
            return Ok(());
        }
        let resource = self.resources.get_mut(id)?;
        if !rect.is_within(resource.width, resource.height) {
            return Err(Refusal::InvalidParameter);
        }
        self.scanout = Some(Scanout { resource: id, rect });
        self.screen.show(&resource.image(memory), &rect);
        Ok(())
    }

    fn disable_scanout(&mut self) {
        self.scanout = None;
        self.screen.deactivate();
    }

    fn flush(&mut self, chain: &mut Chain<'_>, memory: &GuestMemory) -> Result<(), Refusal> {
        let body = body::<24>(chain)?;
        let mut fields = Fields(&body);
        let (rect, id) = (fields.rect(), fields.u32());
        let resource = self.resources.get_mut(id)?;
        if !rect.is_within(resource.width, resource.height) {
            return Err(Refusal::InvalidParameter);
        }
        if let Some(scanout) = self.scanout.filter(|scanout| scanout.resource == id) {
            self.screen.update(&resource.image(memory), &scanout.rect, &rect);
        }
        Ok(())
    }

    fn attach_backing(&mut self, chain: &mut Chain<'_>, memory: &GuestMemory) -> Result<(), Refusal> {
        let [id, count] = words(chain)?;
        self.resources.get_mut(id)?;
        if u64::from(count) * 16 > chain.readable_len() {
            return Err(Refusal::InvalidParameter);
        }
        if count as usize > self.resources.entries_left() {
            return Err(Refusal::OutOfMemory);
        }
        let mut backing = Backing::new();
        for _ in 0..count {
            let entry = body::<16>(chain)?;
            let mut fields = Fields(&entry);
            let (address, length) = (fields.u64(), u64::from(fields.u32()));
            backing.push(BackingEntry { address, length }, memory)?;
        }
        self.resources.attach(id, backing)
    }

    fn move_or_update_cursor(
        &mut self,
        kind: u32,
        chain: &mut Chain<'_>,
        memory: &GuestMemory,
    ) -> Result<(), Refusal> {
        let [scanout, x, y, _padding, id, hot_x, hot_y, _padding2] = words(chain)?;
        only_scanout(scanout)?;
        match kind {
            command::MOVE_CURSOR => {}
            command::UPDATE_CURSOR if id == 0 => self.cursor.image = None,
            command::UPDATE_CURSOR => {
                let resource = self.resources.get_mut(id)?;
                if (resource.width, resource.height) != (CURSOR_SIZE, CURSOR_SIZE) {
                    return Err(Refusal::InvalidParameter);
                }
                self.cursor.image = Some(resource.argb(memory));
                (self.cursor.hot_x, self.cursor.hot_y) = (hot_x, hot_y);
            }
            _ => return Err(Refusal::Unspecified),
        }
        (self.cursor.x, self.cursor.y) = (x, y);
        Ok(())
    }
}

fn clamp_side(side: u32) -> u32 {
    side.clamp(MIN_DISPLAY_SIDE, MAX_DISPLAY_SIDE)
}

fn only_scanout(scanout: u32) -> Result<(), Refusal> {
    if scanout == 0 { Ok(()) } else { Err(Refusal::InvalidScanout) }
}

fn body<const N: usize>(chain: &mut Chain<'_>) -> Result<[u8; N], Refusal> {
    chain.read_array().ok_or(Refusal::InvalidParameter)
}

fn words<const N: usize>(chain: &mut Chain<'_>) -> Result<[u32; N], Refusal> {
    let mut words = [0; N];
    for word in &mut words {
        *word = u32::from_le_bytes(body(chain)?);
    }
    Ok(words)
}

impl VirtioDevice for Gpu {
    type State = GpuState;

    fn name(&self) -> &'static str {
        "virtio-gpu"
    }

    fn device_id(&self) -> u32 {
        16
    }

    fn features(&self) -> u64 {
        F_EDID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[256, 16]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; CONFIG_LEN];
        config[..4].copy_from_slice(&self.events.to_le_bytes());
        config[8] = 1; // num_scanouts
        read_config_bytes(&config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if offset == CONFIG_EVENTS_CLEAR
            && let Some(clear) = data.first_chunk()
        {
            self.events &= !u32::from_le_bytes(*clear);
        }
    }

    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault> {
        let memory = queues.memory();
        while let Some(mut chain) = queues.pop(queue)? {
            self.serve(queue, &mut chain, memory);
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn take_config_change(&mut self) -> bool {
        std::mem::take(&mut self.config_changed)
    }

    fn reset(&mut self) {
        self.events = 0;
        self.resources = Resources::default();
        self.cursor = Cursor::default();
        self.disable_scanout();
    }

    fn save(&self) -> GpuState {
        GpuState {
            width: self.width,
            height: self.height,
            events: self.events,
            resources: self.resources.save(),
            scanout: self.scanout,
            cursor: self.cursor.clone(),
        }
    }

    fn load(&mut self, state: &GpuState, memory: &GuestMemory) -> Result<(), LoadError> {
        let refuse = |what: String| LoadError::new("virtio-gpu", what);
        let GpuState { width, height, events, scanout, .. } = *state;
        if (clamp_side(width), clamp_side(height)) != (width, height) {
            return Err(refuse(format!("a display of {width} by {height}")));
        }
        if events & !EVENT_DISPLAY != 0 {
            return Err(refuse(format!("unknown events {events:#x}")));
        }
        let cursor_len = (CURSOR_SIZE * CURSOR_SIZE) as usize;
        if state.cursor.image.as_ref().is_some_and(|image| image.len() != cursor_len) {
            return Err(refuse("its cursor has another size".into()));
        }
        let mut resources = Resources::from_state(&state.resources, memory).map_err(refuse)?;
        match scanout {
            None => self.screen.blank(width, height),
            Some(Scanout { resource, rect }) => {
                let shown = resources
                    .get_mut(resource)
                    .ok()
                    .filter(|shown| rect.is_within(shown.width, shown.height))
                    .ok_or_else(|| refuse(format!("its screen shows what resource {resource} has not")))?;
                self.screen.show(&shown.loaded_image(memory), &rect);
            }
        }
        (self.width, self.height, self.events) = (width, height, events);
        (self.resources, self.scanout, self.cursor) = (resources, scanout, state.cursor.clone());
        self.config_changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
