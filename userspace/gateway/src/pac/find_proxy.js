
// Whether a sorted table has a text.
function has(table, text) {
  var low = 0, high = table.length;
  while (low < high) {
    var middle = (low + high) >> 1;
    if (table[middle] < text) low = middle + 1; else high = middle;
  }
  return low < table.length && table[low] === text;
}

// Whether an address is in one of the ranges, which are sorted and apart: first, last, first, last.
function within(ranges, address) {
  var low = 0, high = ranges.length >> 1;
  while (low < high) {
    var middle = (low + high) >> 1;
    if (ranges[2 * middle + 1] < address) low = middle + 1; else high = middle;
  }
  return 2 * low < ranges.length && ranges[2 * low] <= address;
}

function hex(number, digits) {
  var text = number.toString(16);
  while (text.length < digits) text = "0" + text;
  return text;
}

// The eight digits of an IPv4 address; nothing where it is none.
function digits4(host) {
  if (!/^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)) return "";
  var parts = host.split("."), text = "";
  for (var i = 0; i < 4; i++) {
    if (parts[i] > 255 || (parts[i].length > 1 && parts[i].charAt(0) === "0")) return "";
    text += hex(+parts[i], 2);
  }
  return text;
}

// The 32 digits of an IPv6 address; nothing where it is none.
function digits6(host) {
  var tail = "", quad = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(host);
  if (quad) {
    tail = digits4(quad[2]);
    if (tail === "") return "";
    host = quad[1] + tail.substring(0, 4) + ":" + tail.substring(4);
  }
  var halves = host.split("::"), texts = ["", ""];
  if (halves.length > 2) return "";
  for (var i = 0; i < halves.length; i++) {
    var groups = halves[i] === "" ? [] : halves[i].split(":");
    for (var j = 0; j < groups.length; j++) {
      if (!/^[0-9a-f]{1,4}$/.test(groups[j])) return "";
      texts[i] += hex(parseInt(groups[j], 16), 4);
    }
  }
  var length = texts[0].length + texts[1].length;
  if (halves.length === 1) return length === 32 ? texts[0] : "";
  if (length >= 32) return "";
  while (texts[0].length + texts[1].length < 32) texts[0] += "0";
  return texts[0] + texts[1];
}

function isDirect(host) {
  var address = digits4(host);
  if (address !== "") return within(ranges4, address);
  if (host.indexOf(":") >= 0) {
    address = digits6(host);
    if (address.substring(0, 24) === "00000000000000000000ffff") {
      return within(ranges4, address.substring(24));
    }
    return address !== "" && within(ranges6, address);
  }
  if (host.indexOf(".") < 0 && plain) return true;
  if (has(exact, host)) return true;
  for (var dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    if (has(below, host.substring(dot + 1))) return true;
  }
  return false;
}

function FindProxyForURL(url, host) {
  host = host.toLowerCase().replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  return host !== "" && isDirect(host) ? "DIRECT" : proxy;
}
