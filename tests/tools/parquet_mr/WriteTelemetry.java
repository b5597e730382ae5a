import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.parquet.column.ParquetProperties.WriterVersion;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.example.data.simple.SimpleGroupFactory;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.example.ExampleParquetWriter;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.io.LocalOutputFile;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.MessageTypeParser;

/**
 * Writes the telemetry rows with parquet-mr, the library inside Spark, Hive and Firehose.
 *
 * <p>java WriteTelemetry.java ROWS.tsv OUT.parquet int96|millis|micros CODEC v1|v2. A line of ROWS.tsv is one row:
 * device_id, event_id, event_time, tenant_id, temperature, ingest_time, with times in milliseconds since 1970 and empty
 * fields for null.
 */
public class WriteTelemetry {
  public static void main(String[] args) throws IOException {
    List<String> lines = Files.readAllLines(Path.of(args[0]));
    String time = args[2];
    MessageType schema = MessageTypeParser.parseMessageType(String.format("""
        message telemetry {
          required binary device_id (STRING);
          required binary event_id (STRING);
          required %1$s event_time %2$s;
          required binary tenant_id (STRING);
          optional double temperature;
          optional %1$s ingest_time %2$s;
        }""",
        time.equals("int96") ? "int96" : "int64",
        time.equals("int96") ? "" : "(TIMESTAMP(" + time.toUpperCase() + ",true))"));
    SimpleGroupFactory groups = new SimpleGroupFactory(schema);
    try (ParquetWriter<Group> writer = ExampleParquetWriter.builder(new LocalOutputFile(Path.of(args[1])))
        .withType(schema)
        .withCompressionCodec(CompressionCodecName.valueOf(args[3]))
        .withWriterVersion(WriterVersion.fromString(args[4]))
        .build()) {
      for (String line : lines) {
        String[] fields = line.split("\t", -1);
        Group row = groups.newGroup();
        row.append("device_id", fields[0]).append("event_id", fields[1]).append("tenant_id", fields[3]);
        addTime(row, "event_time", fields[2], time);
        if (!fields[4].isEmpty()) row.append("temperature", Double.parseDouble(fields[4]));
        if (!fields[5].isEmpty()) addTime(row, "ingest_time", fields[5], time);
        writer.write(row);
      }
    }
  }

  static void addTime(Group row, String column, String milliseconds, String form) {
    long value = Long.parseLong(milliseconds);
    switch (form) {
      case "millis" -> row.add(column, value);
      case "micros" -> row.add(column, value * 1000);
      default -> row.add(column, int96(value));
    }
  }

  /** Nanoseconds of the day in 8 bytes, then the Julian day in 4, little-endian; always UTC. */
  static Binary int96(long milliseconds) {
    long dayMillis = 86_400_000L;
    ByteBuffer bytes = ByteBuffer.allocate(12).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(Math.floorMod(milliseconds, dayMillis) * 1_000_000L);
    bytes.putInt((int) (Math.floorDiv(milliseconds, dayMillis) + 2_440_588L));
    return Binary.fromConstantByteArray(bytes.array());
  }
}
