// What is different from Firefox as Debian ships it.

// Nothing of its own accord: no first-run pages, no questions, no updates, no reports, no connections.
pref("browser.aboutwelcome.enabled", false);
pref("browser.preonboarding.enabled", false);
pref("browser.shell.checkDefaultBrowser", false);
pref("browser.startup.homepage_override.mstone", "ignore");
pref("startup.homepage_welcome_url", "");
pref("startup.homepage_override_url", "");
pref("termsofuse.bypassNotification", true);
pref("app.normandy.enabled", false);
pref("app.shield.optoutstudies.enabled", false);
pref("browser.contentblocking.database.enabled", false);
pref("browser.ml.enable", false);
pref("browser.region.network.url", "");
pref("browser.region.update.enabled", false);
pref("browser.safebrowsing.blockedURIs.enabled", false);
pref("browser.safebrowsing.downloads.enabled", false);
pref("browser.safebrowsing.malware.enabled", false);
pref("browser.safebrowsing.phishing.enabled", false);
pref("browser.safebrowsing.update.enabled", false);
pref("browser.search.update", false);
pref("browser.topsites.contile.enabled", false);
pref("browser.translations.enable", false);
pref("datareporting.healthreport.uploadEnabled", false);
pref("datareporting.policy.dataSubmissionEnabled", false);
pref("datareporting.usage.uploadEnabled", false);
pref("dom.push.connection.enabled", false);
pref("dom.push.enabled", false);
pref("extensions.blocklist.enabled", false);
pref("extensions.getAddons.cache.enabled", false);
pref("extensions.systemAddon.update.enabled", false);
pref("extensions.update.enabled", false);
pref("identity.fxaccounts.enabled", false);
pref("media.gmp-manager.updateEnabled", false);
pref("media.gmp-provider.enabled", false);
pref("messaging-system.rsexperimentloader.enabled", false);
pref("network.captive-portal-service.enabled", false);
pref("network.connectivity-service.enabled", false);
pref("network.dns.disablePrefetch", true);
pref("network.prefetch-next", false);
pref("network.trr.mode", 5);
pref("nimbus.rollouts.enabled", false);
pref("signon.rememberSignons", false);
pref("toolkit.telemetry.archive.enabled", false);
pref("toolkit.telemetry.enabled", false);
pref("toolkit.telemetry.server", "");
pref("toolkit.telemetry.unified", false);

// The session is in memory and ends with the machine.
pref("browser.cache.disk.enable", false);
pref("browser.sessionstore.resume_from_crash", false);
pref("browser.warnOnQuit", false);
pref("toolkit.startup.max_resumed_crashes", -1);
pref("browser.newtabpage.enabled", false);
pref("browser.newtab.preload", false);

// Pixels are painted by the processor: nothing moves that need not, and nothing blinks.
pref("full-screen-api.warning.timeout", 0);
pref("general.smoothScroll", false);
pref("gfx.webrender.software", true);
pref("layers.acceleration.disabled", true);
pref("layout.frame_rate", 30);
pref("media.hardware-video-decoding.enabled", false);
pref("toolkit.cosmeticAnimations.enabled", false);
pref("ui.caretBlinkTime", 0);
pref("ui.prefersReducedMotion", 1);
pref("webgl.disabled", true);
pref("dom.webgpu.enabled", false);

// The window is the whole screen: no frame, no buttons for what a screen cannot do.
pref("browser.tabs.inTitlebar", 0);

// One process for the web's pages: the machine is what keeps one session from another. Each process keeps its sandbox;
// only that of files may read any.
pref("dom.ipc.processCount", 1);
pref("dom.ipc.processPrelaunch.enabled", false);
pref("fission.autostart", false);
pref("browser.tabs.remote.separatePrivilegedContentProcess", false);
pref("browser.tabs.remote.separatePrivilegedMozillaWebContentProcess", false);
pref("network.process.enabled", false);
pref("media.rdd-process.enabled", false);
pref("media.utility-process.enabled", false);

// No accessibility bus, no desktop portal is there to ask.
pref("accessibility.force_disabled", 1);
pref("widget.use-xdg-desktop-portal.file-picker", 0);
pref("widget.use-xdg-desktop-portal.mime-handler", 0);
pref("widget.use-xdg-desktop-portal.settings", 0);

// The script that talks to the host (AutoConfig).
pref("general.config.filename", "samovar.cfg");
pref("general.config.obscure_value", 0);
pref("general.config.sandbox_enabled", false);
